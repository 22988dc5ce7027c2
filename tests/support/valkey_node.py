"""A node as a process that executes commands from standard input.

Started with the URL of a store. Each line is ``["write", USER, NAME]`` or
``["clients"]``; each reply is a line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.valkey_nodes import Node, notification, run_node


async def main(url: str) -> None:
    async with run_node(url) as node:
        print(json.dumps("ready"), flush=True)
        rest = b""
        async for chunk in trio.lowlevel.FdStream(sys.stdin.fileno()):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                reply = await _execute(node, *json.loads(line))
                print(json.dumps(reply), flush=True)


async def _execute(node: Node, command: str, *arguments: str) -> Any:
    if command == "clients":
        records = node.clients.records.items()
        return {
            user: [*record.badge.etag.split("."), sorted(record.mailbox.items)]
            for user, record in records
        }
    user, name = arguments
    (result,) = await node.engine.apply([(user, notification(name))])
    return not isinstance(result, Exception)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
