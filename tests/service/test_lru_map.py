"""The LRU map: eviction by weight, and pins."""

from __future__ import annotations

from roundel_service.lru_map import LruMap


def filled(*keys: str) -> LruMap[str, str]:
    """Return a map with a limit of 30 whose entries weigh 10 each."""
    lru: LruMap[str, str] = LruMap(30)
    for key in keys:
        lru.put(key, key.upper(), 10)
    return lru


def keys_in(lru: LruMap[str, str], keys: str) -> str:
    return "".join(key for key in keys if key in lru)


def test_least_recently_used_entry_is_evicted():
    """`get()` counts as a use, and the entry without a use makes room."""
    lru = filled(*"abc")
    lru.get("a")
    lru.put("d", "D", 10)

    assert "acd" == keys_in(lru, "abcd")
    assert (3, 30) == (len(lru), lru.weight)
    assert (None, "A") == (lru.get("b"), lru.get("a"))


def test_weight_is_one_by_default():
    """Without weights the limit is a number of entries."""
    lru: LruMap[int, int] = LruMap(2)
    for number in range(4):
        lru.put(number, number)

    assert (2, 2, 3) == (len(lru), lru.weight, lru.get(3))


def test_weight_of_a_replaced_entry():
    """A replaced or removed entry no longer counts."""
    lru = filled(*"ab")
    lru.put("a", "A", 15)
    lru.discard("b")
    lru.discard("unknown")

    assert (1, 15) == (len(lru), lru.weight)


def test_entry_beyond_the_limit_is_evicted_at_once():
    """The limit also holds for a single entry."""
    lru = filled(*"ab")
    lru.put("c", "C", 31)

    assert (0, 0) == (len(lru), lru.weight)


def test_pinned_entry_stays_until_its_last_pin_ends():
    """Pinned entries exceed the limit; the map evicts when the last pin ends."""
    lru = filled(*"abc")
    with lru.pinned("ab"), lru.pinned("a"):
        lru.put("d", "D", 30)
        assert "ab" == keys_in(lru, "abcd")
        lru.put("e", "E", 10)
        assert "abe" == keys_in(lru, "abcde")
    lru.put("f", "F", 10)

    assert 30 >= lru.weight
    assert "f" in lru


def test_key_is_pinned_before_its_entry_exists():
    """An entry that is added under a pinned key stays."""
    lru = filled(*"abc")
    with lru.pinned("xyz"):
        for key in "xyz":
            lru.put(key, key, 20)
        assert "xyz" == keys_in(lru, "abcxyz")

    assert "z" == keys_in(lru, "abcxyz")
