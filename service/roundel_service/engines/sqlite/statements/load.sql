-- The snapshots and entries of the users in a JSON list of names, as one text. char(28)
-- to char(30) separate users, parts and entries.
SELECT group_concat(
    m.id || char(29) || m.name || char(29) || m.generation || char(29) || m.body
    || char(29) || coalesce((
        SELECT group_concat(row, char(30)) FROM entry WHERE user = m.id), ''),
    char(28))
FROM json_each(?) AS wanted CROSS JOIN mailbox AS m ON m.name = wanted.value
