"""Draw the states of a `Source` from its table: `python docs/images/draw_source.py`.

Every arrow and every label is read from `roundel.TRANSITIONS`. This module adds only
the coordinates.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from roundel import TRANSITIONS, State

DIAGRAM = Path(__file__).with_name("source.svg")
BOX = (150, 46)
LINE_HEIGHT = 16

CENTRES = {
    State.CONNECTING: (170, 90),
    State.OPEN: (610, 90),
    State.WAITING: (390, 300),
    State.CLOSED: (390, 480),
}

# For each arrow: start, control point and end of its curve, then position and anchor of
# its label.
Point = tuple[float, float]
ARROWS: dict[tuple[State, State], tuple[Point, Point, Point, Point, str]] = {
    (State.CONNECTING, State.OPEN): (
        *((245, 80), (390, 60), (535, 80), (390, 52)),
        "middle",
    ),
    (State.CONNECTING, State.WAITING): (
        *((190, 113), (220, 240), (315, 290), (258, 196)),
        "start",
    ),
    (State.WAITING, State.CONNECTING): (
        *((315, 308), (140, 310), (150, 113), (136, 240)),
        "end",
    ),
    (State.OPEN, State.WAITING): (
        *((590, 113), (560, 240), (465, 290), (524, 222)),
        "end",
    ),
    (State.CONNECTING, State.CLOSED): (
        *((105, 113), (-70, 420), (315, 478), (112, 372)),
        "start",
    ),
    (State.OPEN, State.CLOSED): (
        *((675, 113), (800, 420), (465, 478), (662, 372)),
        "end",
    ),
    (State.WAITING, State.CLOSED): (
        *((390, 323), (390, 390), (390, 457), (400, 396)),
        "start",
    ),
    (State.OPEN, State.OPEN): (
        *((685, 80), (780, 40), (685, 100), (744, 66)),
        "start",
    ),
    (State.CLOSED, State.CLOSED): (
        *((360, 503), (390, 560), (420, 503), (390, 552)),
        "middle",
    ),
}

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1b1d2a; }
  .state { font-weight: 600; text-anchor: middle; dominant-baseline: central; }
  rect { fill: #eef0fd; stroke: #4650c8; stroke-width: 1.5; }
  path { fill: none; stroke: #4650c8; stroke-width: 1.5; marker-end: url(#tip); }
  @media (prefers-color-scheme: dark) {
    text { fill: #e8eaf2; } rect { fill: #23263a; }
  }
"""


ARROW_HEAD = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
    'markerHeight="8" orient="auto-start-reverse">'
    '<polygon points="0,0 8,4 0,8" fill="#4650c8"/></marker></defs>'
)


def arrow_labels() -> dict[tuple[State, State], list[str]]:
    """Return the inputs of each arrow, in the table's order."""
    labels: dict[tuple[State, State], list[str]] = {}
    for (state, received), next_state in TRANSITIONS.items():
        labels.setdefault((state, next_state), []).append(received.value)
    return labels


def arrow(ends: tuple[State, State], lines: list[str]) -> str:
    """Draw one arrow with its label, one input a line."""
    start, bend, end, label, anchor = ARROWS[ends]
    curve = f"M{start[0]},{start[1]} Q{bend[0]},{bend[1]} {end[0]},{end[1]}"
    x, y = label[0], label[1] - LINE_HEIGHT * (len(lines) - 1) / 2
    spans = "".join(
        f'<tspan x="{x}" y="{y + LINE_HEIGHT * number:g}">{escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    return f'<path d="{curve}"/><text text-anchor="{anchor}">{spans}</text>'


def box(state: State) -> str:
    """Draw one state."""
    (x, y), (width, height) = CENTRES[state], BOX
    corner = f'x="{x - width / 2:g}" y="{y - height / 2:g}"'
    return (
        f'<rect {corner} width="{width}" height="{height}" rx="12"/>'
        f'<text class="state" x="{x}" y="{y}">{state.name}</text>'
    )


def draw() -> str:
    """Return the diagram as SVG."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 20 900 550" role="img">',
        "<title>The states and transitions of a source</title>",
        f"<style>{STYLE}</style>",
        ARROW_HEAD,
        *(arrow(ends, lines) for ends, lines in arrow_labels().items()),
        *(box(state) for state in State),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    DIAGRAM.write_text(draw(), encoding="utf-8")
