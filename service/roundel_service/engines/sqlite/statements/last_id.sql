-- The highest id of a user, also of one whose row was deleted by hand: a new user must
-- not get the other rows of that one. Ids that no engine has made are ignored.
SELECT max(
    coalesce((SELECT id FROM user
        WHERE id < 9007199254740992 ORDER BY id DESC LIMIT 1), 0),
    coalesce((SELECT user FROM item WHERE typeof(user) = 'integer'
        AND user < 9007199254740992 ORDER BY user DESC LIMIT 1), 0),
    coalesce((SELECT user FROM answer WHERE typeof(user) = 'integer'
        AND user < 9007199254740992 ORDER BY user DESC LIMIT 1), 0),
    coalesce((SELECT user FROM change WHERE typeof(user) = 'integer'
        AND user < 9007199254740992 ORDER BY user DESC LIMIT 1), 0))
