-- The highest id of a mailbox, also of one whose row was deleted by hand: a new user
-- must not get its entries. Ids that no engine has made are ignored.
SELECT max(
    coalesce((SELECT id FROM mailbox
        WHERE id < 9007199254740992 ORDER BY id DESC LIMIT 1), 0),
    coalesce((SELECT user FROM entry WHERE typeof(user) = 'integer'
        AND user < 9007199254740992 ORDER BY user DESC LIMIT 1), 0))
