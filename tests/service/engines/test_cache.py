"""What is at hand: the values used last, as many as weigh no more than they may."""

from __future__ import annotations

from roundel_service.domain.mailbox import Mailbox
from roundel_service.domain.record import Record, RecordLimits
from roundel_service.engines.cache import Cache, record_weight
from support.mailboxes import note


def filled(*users: str, room: int = 30) -> Cache[str]:
    """Return a cache of values that weigh 10 each."""
    cache: Cache[str] = Cache(room)
    for user in users:
        cache.put(user, user.upper(), 10)
    return cache


def held(cache: Cache[str], *users: str) -> str:
    return "".join(user for user in users if user in cache)


def test_least_recently_used_goes_first():
    """Who was asked for stays, and who was not makes room."""
    cache = filled(*"abc")
    cache.get("a")
    cache.put("d", "D", 10)

    assert "acd" == held(cache, *"abcd")
    assert (3, 30) == (len(cache), cache.bytes)
    assert (None, "A") == (cache.get("b"), cache.get("a"))


def test_value_that_is_put_again_weighs_what_it_weighs_now():
    """No weight is counted twice, and what is dropped weighs nothing."""
    cache = filled(*"ab")
    cache.put("a", "A", 15)
    cache.drop("b")
    cache.drop("nobody")

    assert (1, 15) == (len(cache), cache.bytes)


def test_what_weighs_too_much_does_not_stay():
    """The bound holds for a single value, too."""
    cache = filled(*"ab")
    cache.put("c", "C", 31)

    assert (0, 0) == (len(cache), cache.bytes)


def test_who_is_pinned_stays_until_nobody_holds_the_pin():
    """A bound is no reason to take away what is in use; afterwards it is."""
    cache = filled(*"abc")
    with cache.pinned("ab"), cache.pinned("a"):
        cache.put("d", "D", 30)
        assert "ab" == held(cache, *"abcd")
        cache.put("e", "E", 10)
        assert "abe" == held(cache, *"abcde")
    cache.put("f", "F", 10)

    assert 30 >= cache.bytes
    assert "f" in cache


def test_pins_of_nobody_do_no_harm():
    """Who is not there can be pinned, and comes to stay."""
    cache = filled(*"abc")
    with cache.pinned("xyz"):
        for user in "xyz":
            cache.put(user, user, 20)
        assert "xyz" == held(cache, *"abcxyz")

    assert "z" == held(cache, *"abcxyz")


def test_weight_grows_with_what_a_record_holds():
    """An estimate that counts items, their text and the changes."""
    record = Record(Mailbox(epoch="e"))
    weights = [record_weight(record)]
    for number, size in enumerate([0, 0, 8_000]):
        new = note(f"{number}", size=size, op_id=f"{number}")
        record, _ = record.apply(new, now=0.0, limits=RecordLimits())
        weights.append(record_weight(record))

    assert weights == sorted(set(weights))
    assert weights[-1] > 8_000
