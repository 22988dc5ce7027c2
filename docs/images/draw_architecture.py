"""Draw the folders and their imports: `python docs/images/draw_architecture.py`.

Everything in the picture is read from the code: the folders and modules of the service,
the adapters and the core, and the import graph. A folder stands above all folders that
it imports. An arrow is an import; one that other arrows imply is left out.
"""

from __future__ import annotations

from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

PICTURE = Path(__file__).with_name("architecture.svg")
LEFT_OUT = {"roundel_adapters", "roundel_service", "roundel_service.__main__"}

WIDTH, HEIGHT = 192, 46
GAP, RISE = 18, 44
BOXES_A_ROW = 4

STYLE = """
  text { font: 600 14px system-ui, sans-serif; fill: #1b1d2a; text-anchor: middle; }
  rect { stroke-width: 1.5; }
  .service { fill: #eef0fd; stroke: #4650c8; }
  .adapters { fill: #e9f6ef; stroke: #2a7d4f; }
  .core { fill: #fdf3e4; stroke: #b26a00; }
  path { fill: none; stroke: #8a8fb5; stroke-width: 1.2; marker-end: url(#tip); }
  @media (prefers-color-scheme: dark) {
    text { fill: #e8eaf2; }
    .service { fill: #23263a; stroke: #8a93ff; }
    .adapters { fill: #1d3127; stroke: #5fc08b; }
    .core { fill: #372a17; stroke: #e5a447; }
  }
"""
TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto">'
    '<polygon points="0,0 8,4 0,8" fill="#8a8fb5"/></marker></defs>'
)

Graph = dict[str, set[str]]


def folder_of(module: str) -> str:
    """Return the box that *module* belongs to."""
    parts = module.split(".")
    return ".".join(parts[:1] if parts[0] == "roundel" else parts[:2])


def import_graph() -> Graph:
    """Return the boxes that each box imports."""
    graph = grimp.build_graph(
        "roundel", "roundel_adapters", "roundel_service", cache_dir=None
    )
    folders: Graph = defaultdict(set)
    for module in graph.modules:
        if (folder := folder_of(module)) not in LEFT_OUT:
            imported = map(folder_of, graph.find_modules_directly_imported_by(module))
            folders[folder] |= {*imported} - {folder} - LEFT_OUT
    return dict(folders)


def levels_of(graph: Graph) -> dict[str, int]:
    """Return the length of the longest import chain below each box."""
    levels: dict[str, int] = {}
    for box in TopologicalSorter(graph).static_order():
        levels[box] = 1 + max((levels[each] for each in graph[box]), default=-1)
    return levels


def reachable(graph: Graph, box: str) -> set[str]:
    """Return all boxes that *box* imports, directly or not."""
    return graph[box].union(*(reachable(graph, each) for each in graph[box]))


def arrows_of(graph: Graph) -> list[tuple[str, str]]:
    """Return the imports that no chain of other imports implies, sorted."""
    return sorted(
        (box, imported)
        for box in graph
        for imported in graph[box]
        if not any(imported in reachable(graph, other) for other in graph[box])
    )


def places_of(graph: Graph) -> dict[str, tuple[float, float]]:
    """Return the centre of each box: rows for each level, sorted by name."""
    levels = levels_of(graph)
    rows: list[list[str]] = []
    for level in sorted(set(levels.values()), reverse=True):
        boxes = sorted(box for box in graph if levels[box] == level)
        count = -(-len(boxes) // BOXES_A_ROW)
        rows += [boxes[number::count] for number in range(count)]
    width = max(map(len, rows)) * (WIDTH + GAP)
    return {
        box: (width * (x + 0.5) / len(row), (y + 0.5) * (HEIGHT + RISE))
        for y, row in enumerate(rows)
        for x, box in enumerate(row)
    }


def draw_box(box: str, place: tuple[float, float]) -> str:
    """Return the SVG of one box with its name."""
    x, y = place
    kind = {"roundel": "core", "roundel_adapters": "adapters"}.get(
        box.partition(".")[0], "service"
    )
    label = box.removeprefix("roundel_service.").removeprefix("roundel_")
    return (
        f'<rect class="{kind}" x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" '
        f'width="{WIDTH}" height="{HEIGHT}" rx="10"/>'
        f'<text x="{x:g}" y="{y + 5:g}">{label}</text>'
    )


def draw_arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return the SVG of one import."""
    (x, y), (u, v) = start, end
    y, v = y + HEIGHT / 2, v - HEIGHT / 2
    return (
        f'<path d="M{x:g},{y:g} C{x:g},{y + RISE:g} {u:g},{v - RISE:g} {u:g},{v:g}"/>'
    )


def draw() -> str:
    """Return the picture as SVG."""
    graph = import_graph()
    places = places_of(graph)
    width = max(x for x, _ in places.values()) + WIDTH / 2 + GAP / 2
    height = max(y for _, y in places.values()) + HEIGHT / 2 + GAP / 2
    size = f'viewBox="0 0 {width:g} {height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>The folders of Roundel and their imports</title>",
        f"<style>{STYLE}</style>",
        TIP,
        *(draw_arrow(places[one], places[other]) for one, other in arrows_of(graph)),
        *(draw_box(box, places[box]) for box in sorted(places)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
