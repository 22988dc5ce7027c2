"""What goes over all users."""

from __future__ import annotations

from collections.abc import Collection

import trio

from ..domain.operations import Notify, Retract
from ..engines.base import Engine, UserOperation
from .compare import check_equal, check_true
from .environment import Environment, put, put_all
from .model import USER_NAMES, note

MANY = 300
"""How many users there are."""


def _from(source: str, name: str = "1", key: str | None = None) -> Notify:
    return Notify(id=name, category="c", title="t", source=source, key=key)


async def _fill(engine: Engine, users: Collection[str], source: str) -> None:
    await put_all(engine, [(user, _from(source, key="k")) for user in users])


async def holders(place: Environment) -> None:
    """Who holds an item that is to go is found, also while others come and go."""
    users = [f"user-{number}" for number in range(MANY)]
    mine = place.random.sample(users, 60)
    selects = Retract(source="s")
    async with place.nodes() as nodes:
        check_equal([], await nodes[0].holders(selects), "the holders where nobody is")
        await _fill(nodes[0], users, "t")
        await put_all(nodes[0], [(user, _from("s", "2", "m")) for user in mine])
        await _found(nodes, selects, mine)
        await _found(nodes, Retract(category="c", key="m"), mine)
        await _found(nodes, Retract(category="c", key="k"), users)
        await put(nodes[0], mine[0], _from("t", "3", "m"))  # replaces the one of "s"
        await _found(nodes, selects, mine[1:])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_come_and_go, place, nodes[0], users)
            for _ in range(5):
                await place.yield_randomly()
                await _found(nodes[-1:], selects, mine[1:])


async def _found(
    nodes: list[Engine], retract: Retract, expected: Collection[str]
) -> None:
    for node in nodes:
        missed = set(expected) - set(await node.holders(retract))
        check_equal(set(), missed, f"who was missed by {retract}")


async def _come_and_go(place: Environment, engine: Engine, users: list[str]) -> None:
    for number in range(30):
        work: list[UserOperation] = [(f"late-{number}", _from("s"))]
        user = place.random.choice(users)
        work += [(user, _from("u", f"goes-{number}", "u")), (user, Retract(source="u"))]
        await put_all(engine, work)
        await place.yield_randomly()


async def holders_after_retract(place: Environment) -> None:
    """What is taken back from all holders is with nobody any more."""
    users = [f"user-{number}" for number in range(40)]
    selects = Retract(source="s")
    async with place.nodes() as nodes:
        await _fill(nodes[0], users, "s")
        await put_all(nodes[0], [(user, _from("t", "2")) for user in users])
        found = await nodes[-1].holders(selects)
        await put_all(nodes[-1], [(user, selects) for user in found])
        for user in users:
            items = (await nodes[0].read(user)).mailbox.items
            check_equal(["2"], list(items), f"the items of {user}")
        left = await nodes[0].holders(selects)
        for applied in await put_all(nodes[0], [(user, selects) for user in left]):
            check_equal(None, applied.change, "what is taken back again")


async def users(place: Environment) -> None:
    """A walk comes by each user once, in an order that stays, page by page."""
    there = [*USER_NAMES, *(f"user-{number}" for number in range(90))]
    place.random.shuffle(there)
    async with place.nodes() as nodes:
        check_equal([], await nodes[0].users(None, 5), "the users where nobody is")
        for user in there:
            await put(nodes[0], user, note("1"))
        walks = [await _walk(node, limit) for limit in (1, 7, 1_000) for node in nodes]
        for walk in walks:
            check_equal(sorted(there), sorted(walk), "the users of a walk")
            check_equal(walks[0], walk, "the order of a walk")
        await put_all(nodes[0], [(walks[0][n], note("2")) for n in (0, 50, -1)])
        check_equal(
            walks[0], await _walk(nodes[0], 11), "the order after another change"
        )
        page = await nodes[0].users(walks[0][6], 5)
        check_equal(walks[0][7:12], page, "a page that begins somewhere")
        check_equal(
            [], await nodes[0].users(walks[0][-1], 5), "what is behind the last"
        )


async def _walk(engine: Engine, limit: int) -> list[str]:
    walk: list[str] = []
    while page := await engine.users(walk[-1] if walk else None, limit):
        check_true(len(page) <= limit, f"a page of at most {limit}, got {len(page)}")
        check_true(len(walk) < 10_000, "a walk that ends")
        walk += page
    return walk


async def users_while_writing(place: Environment) -> None:
    """Who comes during a walk disturbs it not, and a walk from nobody is no error."""
    there = {f"user-{number}" for number in range(30)}
    late = [f"late-{number}" for number in range(0, 90, 3)]
    async with place.nodes() as nodes:
        await put_all(nodes[0], [(user, note("1")) for user in there])
        walk: list[str] = []
        while page := await nodes[0].users(walk[-1] if walk else None, 4):
            walk += page
            if late:
                await put(nodes[-1], late.pop(), note("1"))
        check_equal(len(walk), len(set(walk)), "users who came once")
        check_equal(set(), there - set(walk), "users whom a walk missed")
        known = set(await _walk(nodes[0], 50))
        for nobody in ("nobody", "", "user-", "~"):
            page = await nodes[0].users(nobody, 9)
            check_true(len(page) <= 9, "a page of at most 9")
            check_true(set(page) <= known, f"users behind {nobody!r} who are there")
