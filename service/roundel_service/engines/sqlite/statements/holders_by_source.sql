-- The users with an item from a source.
SELECT group_concat(name, char(30)) FROM user WHERE id IN (
    SELECT user FROM item WHERE source = ?)
