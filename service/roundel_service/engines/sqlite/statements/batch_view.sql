-- The view into which a batch is inserted, and its triggers. The engine replaces
-- {max_claims} by a number.
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
