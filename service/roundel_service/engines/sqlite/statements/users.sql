-- A page of users: parameters are the bytes of the user before the page, and its length.
-- A name that no engine has written cannot be the start of the next page.
SELECT group_concat(name, char(30)) FROM (
    SELECT name FROM mailbox
    WHERE id > coalesce((SELECT id FROM mailbox WHERE name = CAST(? AS TEXT)), -1)
        AND typeof(name) = 'text' AND instr(name, char(30)) = 0
    ORDER BY id LIMIT ?)
