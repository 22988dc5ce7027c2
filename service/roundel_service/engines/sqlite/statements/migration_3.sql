-- Schema version 3: changes without the text of items. Rows of before have it.
DELETE FROM change;
