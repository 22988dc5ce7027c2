-- The values of the keys in a JSON list.
SELECT group_concat(key || char(31) || value, char(30)) FROM claim
WHERE key IN (SELECT value FROM json_each(?))
