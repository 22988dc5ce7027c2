"""An item list is immutable, and counts what its items count, by a column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from roundel_service.domain.badge import fold, fold_list
from roundel_service.domain.item_list import MAX_CATEGORIES, ItemList
from roundel_service.domain.items import Count, ExternalCount, Item
from roundel_service.domain.subscriptions import Muted
from support.mailboxes import item

FLAGS = st.fixed_dictionaries(
    dict.fromkeys(("seen", "read", "archived"), st.booleans())
)
KINDS = st.tuples(st.sampled_from("abcd"), st.none() | st.sampled_from("tu"), FLAGS)
STEPS = st.tuples(
    st.sampled_from(["append", "append", "append", "oldest", "without", "changed"]),
    st.integers(0, 9),
    KINDS,
)
NAMES = st.frozensets(st.sampled_from("abcdg"))


def made(number: int, kind) -> Item:
    category, topic, flags = kind
    return replace(item(category, **flags), id=f"{number}", topic=topic)


def numbered(count: int, *categories: str) -> list[Item]:
    """Return items of these categories in turn."""
    kinds = [(name, None, {}) for name in categories or ("c",)]
    return [made(number, kinds[number % len(kinds)]) for number in range(count)]


def appended(items, held: ItemList | None = None) -> ItemList:
    held = ItemList() if held is None else held
    for each in items:
        held = held.append(each)
    return held


def step(held: ItemList, plain: list[Item], number: int, what: str, at: int, kind):
    """Return the next version of an item list and of a plain list."""
    new = made(number, kind)
    match what:
        case "append":
            count = at // 4 if at < len(plain) else 0
            return held.append(new, without=count), [*plain[count:], new]
        case "oldest":
            count = min(at, len(plain))
            return held.without_oldest(count), plain[count:]
        case "without":
            ids = {each.id for each in plain[at :: 3 - at % 3]}
            return held.without(ids), [each for each in plain if each.id not in ids]
    changed = {each.id: replace(new, id=each.id) for each in plain[at::2]}
    return held.changed(changed), [changed.get(each.id, each) for each in plain]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 4), STEPS), max_size=60))
def test_like_a_plain_list(steps):
    """A step from any version gives the expected items, and changes no version."""
    lists: list[ItemList] = [ItemList()]
    plain: list[list[Item]] = [[]]
    for number, (back, (what, at, kind)) in enumerate(steps):
        index = max(0, len(lists) - 1 - back)
        held, expected = step(lists[index], plain[index], number, what, at, kind)
        lists.append(held)
        plain.append(expected)

    for held, expected in zip(lists, plain, strict=True):
        assert expected == list(held.values())
        assert expected[::-1] == [*reversed(held.values())]
        assert [each.id for each in expected] == list(held)
        assert len(expected) == len(held)
        assert expected[-2:] == held.newest(2)
        assert fold(expected, {}) == fold_list(held, {})
        assert dict(held) == {each.id: each for each in expected} == held
        assert held == ItemList(expected)


@given(
    st.lists(KINDS, max_size=20),
    st.dictionaries(
        st.sampled_from("abg"), st.builds(ExternalCount, st.integers(0, 3), st.just(1))
    ),
    st.builds(Muted, categories=NAMES, topics=st.frozensets(st.sampled_from("tu"))),
)
def test_counts_like_the_plain_fold(kinds, gauges, muted):
    """The column counts what the loop over the items counts: gauges and mutes too."""
    items = [made(number, kind) for number, kind in enumerate(kinds)]

    assert fold(items, gauges, muted) == fold_list(appended(items), gauges, muted)
    assert fold(items, gauges, muted) == fold_list(ItemList(items), gauges, muted)


def test_append_copies_nothing():
    """A version shares its list with the next one, of which it sees the beginning."""
    items = numbered(200)
    older = appended(items[:199])
    newer = older.append(items[199])

    assert older._shared is newer._shared
    assert older._column is newer._column
    assert (items[:199], items) == (list(older.values()), list(newer.values()))


@pytest.mark.parametrize("size", [1, 2, 20, 200])
def test_shared_list_is_bounded(size):
    """Evicted items are kept for a while: at most a quarter as many as are held."""
    held, longest = ItemList(), 0
    for new in numbered(3 * size):
        held = held.append(new)
        held = held.without_oldest(max(0, len(held) - size))
        longest = max(longest, len(held._shared))

    assert size <= longest <= 5 * size // 4 + 2
    assert 0 <= len(held._shared) - len(held) <= size // 4 + 1


def test_removed_item_is_in_no_list():
    """The shared list has no item that was taken back, unlike evicted ones."""
    items = numbered(9)
    held = appended(items).without({"3"}).append(numbered(10)[9])

    assert items[3] not in held._shared


def test_many_categories_over_time():
    """Codes of categories that are gone are used again."""
    held = ItemList()
    for new in numbered(1_000, *(f"c{n}" for n in range(1_000))):
        held = held.append(new)
        held = held.without_oldest(max(0, len(held) - 20))

    assert held._column is not None
    assert len(held._categories) <= 26
    assert {f"c{n}": Count(1, 1) for n in range(980, 1_000)} == held.counts()


def test_category_without_a_counted_item_is_left_out():
    """A copy of the range leaves out the codes of categories that count nothing."""
    items = numbered(10, "a", "b")
    read = {each.id: replace(each, read=True) for each in items if each.category == "a"}
    held = appended(items).changed(read)
    copied = held.append(numbered(11)[10], without=5).without_oldest(1)

    assert ("a", "b") == held._categories
    assert ("b", "c") == copied._categories
    assert {"b": Count(5, 5)} == held.counts()


@pytest.mark.parametrize("count", [MAX_CATEGORIES, MAX_CATEGORIES + 1])
def test_many_categories_at_once(count):
    """With more categories than codes the items are counted one by one."""
    items = numbered(2 * count, *(f"c{number}" for number in range(count)))
    by = {f"c{number}": Count(2, 2) for number in range(count)}
    for held in (appended(items), ItemList(items)):
        assert by == fold_list(held, {})
        assert (count <= MAX_CATEGORIES) is (held.counts() is not None)
        assert (count <= MAX_CATEGORIES) is held.has_counted("c1")
        fewer = held.append(made(999, ("c0", None, {})), without=count + 2)
        assert fold(fewer.values(), {}) == fewer.counts()


def test_category_with_a_counted_item():
    """Only a category of an item that is held and counted is reported."""
    items = numbered(8, "a", "b")
    read = {each.id: replace(each, read=True) for each in items[2::2]}
    seen = {each.id: replace(each, seen=True) for each in items[1::2]}
    held = appended(items).changed(read | seen)

    assert (True, True, False) == tuple(map(held.has_counted, "abc"))
    assert (False, True) == tuple(map(held.without_oldest(1).has_counted, "ab"))
    assert not ItemList().has_counted("a")


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(-3, -1, 0), (0, 0, 0), (2, 0, 2), (0, 1, 1), (0, 20, 2), (0, 21, 3), (9, 0, 5)],
)
def test_oldest_items(count, size, expected):
    """As many of the oldest items are returned as have the count and the size."""
    items = [replace(each, size=10) for each in numbered(6)]
    held = appended(items).without_oldest(1)

    assert items[1 : 1 + expected] == held.oldest(count=count, size=size)


@pytest.mark.parametrize("size", [1, 8, 9, 200])
def test_lookup(size):
    """Each id is found, in old and new items, and no other one."""
    items = numbered(size)
    held = appended(items)

    assert items == [held[each.id] for each in reversed(items)][::-1]
    assert items == [held[each.id] for each in items]
    assert held.get("x") is None
    assert "x" not in held
    assert {each.id for each in items} == held.keys()
    with pytest.raises(KeyError):
        held["x"]


def test_equal_lists_have_equal_items():
    """Lists compare as mappings; the text names the items."""
    items = numbered(3)

    assert ItemList(items) == appended(items)
    assert ItemList(items) != ItemList(items[:2])
    assert ItemList(items) == {each.id: each for each in items}
    assert f"ItemList({items!r})" == repr(ItemList(items))
