"""The schema of the file, and the statements that read and write it.

Python releases the GIL and takes it again at each step of a statement, which can take
milliseconds under load. So a batch is written by one statement: it inserts one row of
JSON lists into a view, and a trigger writes all tables from it. The transaction begins
and ends with this statement. A load likewise returns one text for many mailboxes.
"""

from __future__ import annotations

from typing import Final

APPLICATION: Final = 0x526F756E  # "Roun"

STEPS: Final = (
    """
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
    """,
    """
    CREATE TABLE claim (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        value TEXT NOT NULL,
        until REAL NOT NULL
    );
    CREATE INDEX claim_until ON claim (until);
    """,
)
"""Migrations: each creates the next version of the schema from the one before.

`item.place` is the index value of category and key; `answer` holds the results. If
`serialization.FORMAT_VERSION` changes, a migration must convert the rows.
"""

VERSION: Final = len(STEPS)

BATCH_VIEW: Final = """
CREATE TEMP VIEW batch AS SELECT
    0 AS replaced, 0 AS users, 0 AS removed_items, 0 AS items, 0 AS flags,
    0 AS dropped_results, 0 AS results, 0 AS changes, 0 AS claims, 0 AS now;
CREATE TEMP VIEW removed_item AS SELECT user, id FROM item;
CREATE TEMP TRIGGER remove_item INSTEAD OF INSERT ON removed_item BEGIN
    -- DELETE with a list of pairs would scan all items of a user.
    DELETE FROM item WHERE user = NEW.user AND id = NEW.id;
END;
CREATE TEMP VIEW dropped_result AS SELECT user, op_id FROM answer;
CREATE TEMP TRIGGER drop_result INSTEAD OF INSERT ON dropped_result BEGIN
    DELETE FROM answer WHERE user = NEW.user AND op_id = NEW.op_id;
END;
CREATE TEMP TRIGGER apply_batch INSTEAD OF INSERT ON batch BEGIN
    DELETE FROM item WHERE user IN (SELECT value FROM json_each(NEW.replaced));
    DELETE FROM answer WHERE user IN (SELECT value FROM json_each(NEW.replaced));
    DELETE FROM change WHERE user IN (SELECT value FROM json_each(NEW.replaced));
    INSERT INTO user (id, name, generation, head)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
            json_extract(value, '$[2]'), json_extract(value, '$[3]')
        FROM json_each(NEW.users) WHERE true
        ON CONFLICT (id) DO UPDATE
            SET generation = excluded.generation, head = excluded.head;
    INSERT INTO removed_item (user, id)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')
        FROM json_each(NEW.removed_items);
    INSERT OR REPLACE INTO item (user, id, flags, source, place, row)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
            json_extract(value, '$[2]'), json_extract(value, '$[3]'),
            json_extract(value, '$[4]'), json_extract(value, '$[5]')
        FROM json_each(NEW.items);
    UPDATE item SET flags = json_extract(value, '$[2]')
        FROM json_each(NEW.flags)
        WHERE user = json_extract(value, '$[0]') AND item.id =
            json_extract(value, '$[1]');
    INSERT INTO dropped_result (user, op_id)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')
        FROM json_each(NEW.dropped_results);
    INSERT OR REPLACE INTO answer (user, op_id, n, row)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
            json_extract(value, '$[2]'), json_extract(value, '$[3]')
        FROM json_each(NEW.results);
    INSERT OR REPLACE INTO change (user, slot, row)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
            json_extract(value, '$[2]')
        FROM json_each(NEW.changes);
    DELETE FROM claim WHERE NEW.claims <> '[]' AND id IN (
        SELECT id FROM claim WHERE until <= NEW.now ORDER BY until LIMIT 200);
    INSERT INTO claim (key, value, until)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
            json_extract(value, '$[2]')
        FROM json_each(NEW.claims) WHERE true
        ON CONFLICT (key) DO UPDATE
            SET value = excluded.value, until = excluded.until
            WHERE until <= NEW.now;
    DELETE FROM claim WHERE NEW.claims <> '[]' AND id <=
        (SELECT max(id) FROM claim) - {max_claims};
END;
"""

INSERT_BATCH: Final = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

# Separators of loaded texts: JSON escapes control characters, and names have none.
USER, PART, ROW, CELL = "\x1c", "\x1d", "\x1e", "\x1f"

LOAD: Final = """
SELECT group_concat(
    u.id || char(29) || u.name || char(29) || u.generation || char(29) || u.head
    || char(29) || coalesce((
        SELECT group_concat(flags || char(31) || row, char(30))
        FROM item WHERE user = u.id), '')
    || char(29) || coalesce((
        SELECT group_concat(n || char(31) || op_id || char(31) || row, char(30))
        FROM answer WHERE user = u.id), '')
    || char(29) || coalesce((
        SELECT group_concat(row, char(30)) FROM change WHERE user = u.id), ''),
    char(28))
FROM json_each(?) AS wanted CROSS JOIN user AS u ON u.name = wanted.value
"""

USERS: Final = """
SELECT group_concat(name, char(30)) FROM (
    SELECT name FROM user
    WHERE id > coalesce((SELECT id FROM user WHERE name = ?), -1)
    ORDER BY id LIMIT ?)
"""

HOLDERS: Final = {
    "source": """
        SELECT group_concat(name, char(30)) FROM user WHERE id IN (
            SELECT user FROM item WHERE source = ?)
        """,
    "place": """
        SELECT group_concat(name, char(30)) FROM user WHERE id IN (
            SELECT user FROM item WHERE place = ?)
        """,
}

CLAIMED: Final = "SELECT value FROM claim WHERE key = ? AND until > ?"

CLAIM_VALUES: Final = """
SELECT group_concat(key || char(31) || value, char(30)) FROM claim
WHERE key IN (SELECT value FROM json_each(?))
"""
