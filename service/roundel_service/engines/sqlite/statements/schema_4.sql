-- Schema version 4: a mailbox is a snapshot, and a log of the entries after it.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    generation TEXT NOT NULL,
    -- When the snapshot was written, or later; in seconds since 1970.
    active_at REAL NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX mailbox_active_at ON mailbox (active_at);
-- One log for all mailboxes: n is the time of the entry in microseconds since 1970, or
-- one more than the entry before. So all writes append to the same page.
CREATE TABLE entry (n INTEGER PRIMARY KEY, user INTEGER NOT NULL, row BLOB NOT NULL);
CREATE INDEX entry_user ON entry (user);
-- Which mailboxes have, or had, an item with a tag: a source, or a category and key.
CREATE TABLE tag (
    tag TEXT NOT NULL,
    user INTEGER NOT NULL,
    PRIMARY KEY (tag, user)
) WITHOUT ROWID;
CREATE TABLE claim (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL,
    until REAL NOT NULL
);
CREATE INDEX claim_until ON claim (until);
