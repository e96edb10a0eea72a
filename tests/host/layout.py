"""Checks a workflow's layout on the real page, with the page's sizes of nodes: no node covers another, and no
link runs behind a node."""

from __future__ import annotations

from itertools import combinations

from browser import FIT
from playwright.sync_api import Page

# Pixels that a run adds at the bottom of a node.
LINE = 42      # the line with its result, on every node of this pack
PREVIEW = 224  # a picture's least height, on nodes that show one
VIEWS = {"BiRefComposite": "place", "BiRefEdgeRefine": "compare"}  # widgets that the first run adds

EDGE = 14    # pixels inside a node's border that a link may touch, as it begins and ends there
STEPS = 100  # points at which a link's curve is tested

# Returns each node's title and rectangle on the canvas, title bar included (if growing: with all that a run
# will add); and each link's two nodes and its curve, recorded while the page draws it.
MEASURE = """async ([line, preview, views, growing]) => {
    const curves = new WeakMap(), drawn = {};
    for (const kind of ['moveTo', 'bezierCurveTo']) {
        drawn[kind] = Path2D.prototype[kind];
        Path2D.prototype[kind] = function (...to) {
            curves.set(this, [...(curves.get(this) ?? []), ...to].slice(0, 8));
            return drawn[kind].apply(this, to);
        };
    }
    app.canvas.setDirty(true, true);
    app.canvas.draw(true, true);
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    Object.assign(Path2D.prototype, drawn);
    const nodes = app.graph._nodes.map(node => {
        const [x, y, width, height] = node.getBounding();
        const has = name => node.widgets?.some(widget => widget.name === name);
        let needed = node.computeSize()[1] + height - node.size[1];
        if (node.type.startsWith('BiRef') && !has('line')) needed += line;
        if (views[node.type] && !has(views[node.type])) needed += preview;
        if (node.constructor.nodeData?.output_node && !has('$$canvas-image-preview')) needed += preview;
        return [node.title, x, y, width, growing ? Math.max(height, needed) : height];
    });
    const title = id => app.graph.getNodeById(id).title;
    const links = [...app.graph.links.values()].map(
        link => [title(link.origin_id), title(link.target_id), curves.get(link.path)]);
    return [nodes, links];
}"""


def faults(page: Page, growing: bool) -> list[str]:
    """Return the layout's faults as sentences. growing: for the sizes after a first run."""
    page.evaluate(FIT)  # the page draws only what is visible
    # after a drop, pictures and lists may still make nodes larger; after a run, `run` has waited for that
    page.wait_for_timeout(500 if growing else 100)
    nodes, links = page.evaluate(MEASURE, [LINE, PREVIEW, VIEWS, growing])
    found = [f"{one[0]} covers {other[0]}" for one, other in combinations(nodes, 2)
             if _meet(one[1:], other[1:])]
    for origin, target, curve in links:
        assert curve and len(curve) == 8, f"the page draws no link from {origin} to {target}"
        found += [f"the link from {origin} to {target} runs behind {title}" for title, *box in nodes
                  if any(_inside(place, box) for place in _places(curve))]
    return found


def _meet(one: list[float], other: list[float]) -> bool:
    """Return whether two rectangles (x, y, width, height) overlap."""
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))


def _inside(place: tuple[float, float], box: list[float]) -> bool:
    return all(box[i] + EDGE < place[i] < box[i] + box[i + 2] - EDGE for i in (0, 1))


def _places(curve: list[float]) -> list[tuple[float, float]]:
    """Return points of a cubic Bézier curve, given by x and y of its four control points."""
    shares = [step / STEPS for step in range(STEPS + 1)]
    weights = [((1 - t)**3, 3 * t * (1 - t)**2, 3 * t**2 * (1 - t), t**3) for t in shares]
    return [(sum(map(float.__mul__, weight, map(float, curve[::2]))),
             sum(map(float.__mul__, weight, map(float, curve[1::2])))) for weight in weights]
