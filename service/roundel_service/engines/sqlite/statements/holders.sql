-- The users with an item that has a tag.
SELECT group_concat(name, char(30)) FROM mailbox WHERE id IN (
    SELECT user FROM tag WHERE tag = ?)
