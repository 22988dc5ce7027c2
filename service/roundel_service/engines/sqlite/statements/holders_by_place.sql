-- The users with an item of a category and key.
SELECT group_concat(name, char(30)) FROM user WHERE id IN (
    SELECT user FROM item WHERE place = ?)
