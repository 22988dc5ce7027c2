"""Write the snippets of producers: `python docs/snippets/write_page.py`.

The calls are in `calls.toml`, and their methods and paths in the OpenAPI document.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from textwrap import indent
from typing import Any, TypeAlias

from roundel_service.http.openapi.operations import OPERATIONS

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "how-to" / "notify-from-any-language.md"
TABLE = tomllib.loads((FOLDER / "calls.toml").read_text())
WIDTH = 88

Call: TypeAlias = dict[str, Any]
Brackets: TypeAlias = tuple[str, str, str]

_OPERATIONS = {each.id: each for each in OPERATIONS}
_JS: Brackets = ("{", "}", ": ")
_PHP: Brackets = ("[", "]", " => ")


def page() -> str:
    """Return the content of the page."""
    node, php = (FOLDER / f"roundel.{end}" for end in ("mjs", "php"))
    parts = [
        TABLE["introduction"].strip(),
        f"`roundel.mjs`:\n\n{_block('js', node.read_text())}",
        f"`roundel.php`:\n\n{_block('php', php.read_text())}",
        *map(_section, TABLE["calls"]),
    ]
    return "\n\n".join(parts) + "\n"


def snippets(call: Call) -> dict[str, str]:
    """Return the snippet of *call* in each language."""
    return {
        "curl": _curl(call),
        "Python": _python(call),
        "Node": _node(call),
        "PHP": _php(call),
    }


def _section(call: Call) -> str:
    languages = {"curl": "sh", "Python": "python", "Node": "js", "PHP": "php"}
    blocks = [
        f"{name}:\n\n{_block(languages[name], snippet)}"
        for name, snippet in snippets(call).items()
    ]
    operation = _OPERATIONS[call["operation"]]
    heading = f"## {call['title']}: `{operation.method} {operation.path}`"
    return "\n\n".join([heading, call["text"].strip(), *blocks])


def _block(language: str, content: str) -> str:
    return f"```{language}\n{content.rstrip()}\n```"


def _curl(call: Call) -> str:
    operation = _OPERATIONS[call["operation"]]
    path = operation.path.format(**call.get("path", {}))
    words = ["curl --silent --show-error --fail-with-body --max-time 10"]
    if call.get("may_repeat", True):
        words.append("--retry 9 --retry-max-time 30 --retry-connrefused")
    words += [
        f'--request {operation.method} "$ROUNDEL_URL{path}"',
        '--header "Authorization: Bearer $ROUNDEL_KEY"',
    ]
    if key := call.get("idempotency_key"):
        words.append(f'--header "Idempotency-Key: {key}"')
    if query := call.get("query"):
        words.append("--get")
        words += [f'--data-urlencode "{name}={each}"' for name, each in query.items()]
    match _body(call):
        case None:
            return _shell(words)
        case list(lines):
            content = "".join(f"{json.dumps(line)}\n" for line in lines)
            return f"{_shell([*words, '--data-binary @-'])} <<'LINES'\n{content}LINES"
        case _:
            return _shell([*words, f"--data '{call['body'].strip()}'"])


def _shell(words: list[str]) -> str:
    return " \\\n  ".join(words)


def _python(call: Call) -> str:
    names = ", ".join(["BadgeClient", *call.get("imports", [])])
    url, key = 'os.environ["ROUNDEL_URL"]', 'key=os.environ["ROUNDEL_KEY"]'
    return "\n".join(
        [
            "import os\n",
            f"from roundel_service.client import {names}\n",
            f"with BadgeClient({url}, {key}) as client:",
            indent(f"response = {call['python'].strip()}", "    "),
            "    print(response)",
        ]
    )


def _node(call: Call) -> str:
    operation = _OPERATIONS[call["operation"]]
    names = call.get("path", {})
    variables = [
        f'const {name} = encodeURIComponent("{value}");'
        for name, value in names.items()
    ]
    path = operation.path.format(**{name: f"${{{name}}}" for name in names})
    if query := call.get("query"):
        variables.append(f"const query = new URLSearchParams({_literal(query, _JS)});")
        path += "?${query}"
    arguments = [f'"{operation.method}"', f"`{path}`" if "$" in path else f'"{path}"']
    if (body := _body(call)) is not None:
        arguments.append(_literal(body, _JS))
    if key := call.get("idempotency_key"):
        arguments.append(f'{{ idempotencyKey: "{key}" }}')
    if not call.get("may_repeat", True):
        arguments.append("{ repeat: false }")
    return "\n".join(
        [
            'import { call } from "./roundel.mjs";\n',
            *variables,
            _statement("const response = await call", arguments),
            "console.log(JSON.stringify(response));",
        ]
    )


def _php(call: Call) -> str:
    operation = _OPERATIONS[call["operation"]]
    names = call.get("path", {})
    variables = [f'${name} = rawurlencode("{value}");' for name, value in names.items()]
    path = operation.path.format(**{name: f"${name}" for name in names})
    if query := call.get("query"):
        variables.append(f"$query = http_build_query({_literal(query, _PHP)});")
        path += "?$query"
    arguments = [f'"{operation.method}"', f'"{path}"']
    if (body := _body(call)) is not None:
        arguments.append(_literal(body, _PHP))
    if key := call.get("idempotency_key"):
        arguments.append(f'idempotencyKey: "{key}"')
    if not call.get("may_repeat", True):
        arguments.append("repeat: false")
    return "\n".join(
        [
            '<?php\nrequire "roundel.php";\n',
            *variables,
            _statement("$response = roundel_call", arguments),
            'echo json_encode($response), "\\n";',
        ]
    )


def _statement(function: str, arguments: list[str]) -> str:
    statement = f"{function}({', '.join(arguments)});"
    if max(map(len, statement.split("\n"))) <= WIDTH:
        return statement
    lines = "".join(f"{argument},\n" for argument in arguments)
    return f"{function}(\n{indent(lines, '  ')});"


def _body(call: Call) -> Any:  # noqa: ANN401, JSON is anything
    return json.loads(call["body"]) if "body" in call else None


def _literal(value: Any, brackets: Brackets, depth: int = 0) -> str:  # noqa: ANN401
    """Return *value* as a literal of JavaScript or PHP."""
    left, right, colon = brackets
    if isinstance(value, dict):
        is_php = brackets is _PHP
        parts = [
            (f'"{name}"' if is_php else name)
            + colon
            + _literal(each, brackets, depth + 1)
            for name, each in value.items()
        ]
    elif isinstance(value, list):
        left, right = "[", "]"
        parts = [_literal(each, brackets, depth + 1) for each in value]
    else:
        return json.dumps(value, ensure_ascii=False)
    space = " " if left == "{" else ""
    line = f"{left}{space}{', '.join(parts)}{space}{right}"
    # At depth 0, the name of the function and the path are before it.
    if "\n" not in line and len(line) <= (WIDTH - 6 if depth else WIDTH - 24):
        return line
    inner = "".join(f"{'  ' * (depth + 1)}{part},\n" for part in parts)
    return f"{left}\n{inner}{'  ' * depth}{right}"


if __name__ == "__main__":
    PAGE.write_text(page())
