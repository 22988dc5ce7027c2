-- All rows of the users in a JSON list of ids, as one text. char(28) to char(31)
-- separate users, parts, rows and cells.
SELECT group_concat(
    u.id || char(29) || u.name || char(29) || u.generation || char(29) || u.head
    || char(29) || coalesce((
        SELECT group_concat(id || char(31) || flags || char(31) || row, char(30))
        FROM item WHERE user = u.id), '')
    || char(29) || coalesce((
        SELECT group_concat(n || char(31) || op_id || char(31) || row, char(30))
        FROM answer WHERE user = u.id), '')
    || char(29) || coalesce((
        SELECT group_concat(row, char(30)) FROM change WHERE user = u.id), ''),
    char(28))
FROM json_each(?) AS wanted CROSS JOIN user AS u ON u.id = wanted.value
