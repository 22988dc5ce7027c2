-- A page of users: parameters are the user before the page, and its length.
SELECT group_concat(name, char(30)) FROM (
    SELECT name FROM user
    WHERE id > coalesce((SELECT id FROM user WHERE name = ?), -1)
    ORDER BY id LIMIT ?)
