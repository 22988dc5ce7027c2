-- Mailboxes whose last snapshot is older than a time: name, time of the snapshot, id, and
-- the number of the last entry. Parameters: the time, and time and id of the one before.
SELECT name, active_at, id,
    coalesce((SELECT max(n) FROM entry WHERE user = mailbox.id), 0)
FROM mailbox
WHERE active_at < ? AND (active_at, id) > (?, ?) AND typeof(name) = 'text'
ORDER BY active_at, id LIMIT ?
