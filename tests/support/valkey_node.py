"""A node in a process of its own, which does what it is told line by line.

It is started with the URL of a store, and then reads ``["write", USER, NAME]`` and
``["clients"]``, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.valkey_nodes import Node, node, note


async def main(url: str) -> None:
    async with node(url) as one:
        print(json.dumps("ready"), flush=True)
        rest = b""
        async for chunk in trio.lowlevel.FdStream(sys.stdin.fileno()):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                answer = await _answer(one, *json.loads(line))
                print(json.dumps(answer), flush=True)


async def _answer(one: Node, what: str, *told: str) -> Any:
    if what == "clients":
        records = one.clients.records.items()
        return {
            user: [*record.badge.etag.split("."), sorted(record.mailbox.items)]
            for user, record in records
        }
    user, name = told
    (result,) = await one.engine.apply([(user, note(name))])
    return not isinstance(result, Exception)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
