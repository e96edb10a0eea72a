"""Which nodes of a workflow cover each other on the real page, where each is as large as the page makes it."""

from __future__ import annotations

from itertools import combinations

from playwright.sync_api import Page

# What a run adds at the bottom of a node.
LINE = 42      # in pixels: the line with its result, on every node of this pack
PREVIEW = 224  # the least that a page gives to a picture, on nodes that show one
VIEWS = {"BiRefComposite": "place", "BiRefEdgeRefine": "compare"}  # widgets that come with the first run

# Every node's title, and its rectangle on the canvas, with its title's bar and all that a run will have added.
MEASURE = """([line, preview, views]) => app.graph._nodes.map(node => {
    const [x, y, width, height] = node.getBounding();
    const has = name => node.widgets?.some(widget => widget.name === name);
    let needed = node.computeSize()[1] + height - node.size[1];
    if (node.type.startsWith('BiRef') && !has('line')) needed += line;
    if (views[node.type] && !has(views[node.type])) needed += preview;
    if (node.constructor.nodeData?.output_node && !has('$$canvas-image-preview')) needed += preview;
    return [node.title, x, y, width, Math.max(height, needed)];
})"""


def overlaps(page: Page) -> list[tuple[str, str]]:
    """The pairs of nodes, by title, that cover each other: none in a tidy workflow."""
    nodes = page.evaluate(MEASURE, [LINE, PREVIEW, VIEWS])
    return [(one[0], other[0]) for one, other in combinations(nodes, 2) if _meet(one[1:], other[1:])]


def _meet(one: list[float], other: list[float]) -> bool:
    """Whether two rectangles (x, y, width, height) have an area in common."""
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))
