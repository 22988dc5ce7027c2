-- The values of the keys in a JSON list.
SELECT CAST(group_concat(key || char(31) || value, char(30)) AS BLOB) FROM claim
WHERE key IN (SELECT value FROM json_each(?))
