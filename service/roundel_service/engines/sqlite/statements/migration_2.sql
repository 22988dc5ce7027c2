-- Schema version 2: claims.
CREATE TABLE claim (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL,
    until REAL NOT NULL
);
CREATE INDEX claim_until ON claim (until);
