-- Schema version 1. item.place is the index value of category and key; answer holds
-- the results of operation ids.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE user (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    generation TEXT NOT NULL,
    head TEXT NOT NULL
);
CREATE TABLE item (
    user INTEGER NOT NULL,
    id TEXT NOT NULL,
    flags INTEGER NOT NULL,
    source TEXT,
    place TEXT,
    row TEXT NOT NULL,
    PRIMARY KEY (user, id)
) WITHOUT ROWID;
CREATE INDEX item_source ON item (source) WHERE source IS NOT NULL;
CREATE INDEX item_place ON item (place) WHERE place IS NOT NULL;
CREATE TABLE answer (
    user INTEGER NOT NULL,
    op_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (user, op_id)
) WITHOUT ROWID;
CREATE TABLE change (
    user INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (user, slot)
) WITHOUT ROWID;
