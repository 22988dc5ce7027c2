"""Checks of calls that list users."""

from __future__ import annotations

from collections.abc import Collection

import trio

from ..domain.content import encode_content
from ..domain.operations import Notify, Retract
from ..engines.base import Engine, UserOperation
from .compare import check_equal, check_true
from .environment import Environment, put, put_all
from .model import USER_NAMES, note

MANY = 300
"""Number of users."""


def _from(source: str, name: str = "1", key: str | None = None) -> Notify:
    return Notify(
        id=name, category="c", content=encode_content("t"), source=source, key=key
    )


async def _fill(engine: Engine, users: Collection[str], source: str) -> None:
    await put_all(engine, [(user, _from(source, key="k")) for user in users])


async def holders(env: Environment) -> None:
    """Finding holders returns all users with a selected item, also during writes."""
    users = [f"user-{number}" for number in range(MANY)]
    mine = env.random.sample(users, 60)
    selects = Retract(source="s")
    async with env.nodes() as nodes:
        check_equal([], await nodes[0].holders(selects), "holders in an empty store")
        await _fill(nodes[0], users, "t")
        await put_all(nodes[0], [(user, _from("s", "2", "m")) for user in mine])
        await _found(nodes, selects, mine)
        await _found(nodes, Retract(category="c", key="m"), mine)
        await _found(nodes, Retract(category="c", key="k"), users)
        await put(nodes[0], mine[0], _from("t", "3", "m"))  # replaces the item of "s"
        await _found(nodes, selects, mine[1:])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write_meanwhile, env, nodes[0], users)
            for _ in range(5):
                await env.yield_randomly()
                await _found(nodes[-1:], selects, mine[1:])


async def _found(
    nodes: list[Engine], retract: Retract, expected: Collection[str]
) -> None:
    for node in nodes:
        missed = set(expected) - set(await node.holders(retract))
        check_equal(set(), missed, f"holders missing for {retract}")


async def _write_meanwhile(env: Environment, engine: Engine, users: list[str]) -> None:
    for number in range(30):
        work: list[UserOperation] = [(f"late-{number}", _from("s"))]
        user = env.random.choice(users)
        work += [(user, _from("u", f"goes-{number}", "u")), (user, Retract(source="u"))]
        await put_all(engine, work)
        await env.yield_randomly()


async def holders_after_retract(env: Environment) -> None:
    """After a retraction from all holders, no user has the item."""
    users = [f"user-{number}" for number in range(40)]
    selects = Retract(source="s")
    async with env.nodes() as nodes:
        await _fill(nodes[0], users, "s")
        await put_all(nodes[0], [(user, _from("t", "2")) for user in users])
        found = await nodes[-1].holders(selects)
        await put_all(nodes[-1], [(user, selects) for user in found])
        for user in users:
            items = (await nodes[0].read(user)).mailbox.items
            check_equal(["2"], list(items), f"the items of {user}")
        left = await nodes[0].holders(selects)
        for applied in await put_all(nodes[0], [(user, selects) for user in left]):
            check_equal(None, applied.change, "the change of a repeated retraction")


async def users(env: Environment) -> None:
    """Listing users returns each user once, in a stable order, page by page."""
    there = [*USER_NAMES, *(f"user-{number}" for number in range(90))]
    env.random.shuffle(there)
    async with env.nodes() as nodes:
        check_equal([], await nodes[0].users(None, 5), "the users of an empty store")
        for user in there:
            await put(nodes[0], user, note("1"))
        lists = [
            await _list_all(node, limit) for limit in (1, 7, 1_000) for node in nodes
        ]
        for listed in lists:
            check_equal(sorted(there), sorted(listed), "the listed users")
            check_equal(lists[0], listed, "the order of the users")
        await put_all(nodes[0], [(lists[0][n], note("2")) for n in (0, 50, -1)])
        listed = await _list_all(nodes[0], 11)
        check_equal(lists[0], listed, "the order after another change")
        page = await nodes[0].users(lists[0][6], 5)
        check_equal(lists[0][7:12], page, "a page after a user")
        page = await nodes[0].users(lists[0][-1], 5)
        check_equal([], page, "the page after the last user")


async def _list_all(engine: Engine, limit: int) -> list[str]:
    listed: list[str] = []
    while page := await engine.users(listed[-1] if listed else None, limit):
        check_true(len(page) <= limit, f"a page of at most {limit}, got {len(page)}")
        check_true(len(listed) < 10_000, "a finite list")
        listed += page
    return listed


async def users_while_writing(env: Environment) -> None:
    """Writes do not disturb a listing, and an unknown user as start is no error."""
    there = {f"user-{number}" for number in range(30)}
    late = [f"late-{number}" for number in range(0, 90, 3)]
    async with env.nodes() as nodes:
        await put_all(nodes[0], [(user, note("1")) for user in there])
        listed: list[str] = []
        while page := await nodes[0].users(listed[-1] if listed else None, 4):
            listed += page
            if late:
                await put(nodes[-1], late.pop(), note("1"))
        check_equal(len(listed), len(set(listed)), "the number of distinct users")
        check_equal(set(), there - set(listed), "missing users")
        known = set(await _list_all(nodes[0], 50))
        for unknown in ("unknown", "", "user-", "~"):
            page = await nodes[0].users(unknown, 9)
            check_true(len(page) <= 9, "a page of at most 9")
            check_true(set(page) <= known, f"users after {unknown!r}")
