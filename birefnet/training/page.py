"""Write a run's report: one self-contained HTML file with curves, measures, mattes and settings."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Sequence

from ..files.atomic import atomic_write_bytes
from .run_folder import RunFolder

WIDTH, HEIGHT = 300, 150     # of a chart, in SVG units
LEFT, BELOW = 46, 20         # margins for the axes' labels, in SVG units
MAX_MATTES = 6               # columns of steps
SMALLER_IS_BETTER = {"mae", "hce", "sad", "mse", "gradient", "connectivity"}
TERMS = {"bce": "binary cross-entropy", "iou": "intersection over union", "l1": "L1",
         "ssim": "structural similarity",
         "gradient": "gradient supervision"}

STYLE = """
:root { --paper: #fff; --ink: #1c2127; --dim: #68737d; --line: #dde2e6; --curve: #1769aa; --good: #1b7f4b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16191d; --ink: #e6e9ec; --dim: #97a1ab; --line: #333a41; --curve: #64b5f6;
    --good: #6fcf97; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 1080px;
  margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { color: var(--dim); margin: .3rem 0; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1.1rem; }
figure { margin: 0; } figcaption { font-size: .85rem; } figcaption b { float: right; font-weight: 600; }
svg { width: 100%; display: block; } svg text { fill: var(--dim); font-size: 10px; }
svg path { fill: none; stroke: var(--curve); stroke-width: 1.6; }
svg .raw { stroke-opacity: .28; stroke-width: 1; }
svg circle { fill: var(--curve); } svg line { stroke: var(--line); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .22rem .9rem .22rem 0; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { color: var(--dim); font-weight: 500; }
.settings td { text-align: left; overflow-wrap: anywhere; vertical-align: top; }
.settings td:first-child { color: var(--dim); white-space: nowrap; }
td.better { color: var(--good); font-weight: 600; }
.mattes { display: flex; gap: 6px; } .mattes figure { flex: 1; max-width: 192px; }
.mattes img { display: block; width: 100%; border-radius: 4px; }
.mattes figcaption { text-align: center; color: var(--dim); }
"""


def write_page(run: RunFolder) -> None:
    """Write RUN/report.html from the folder's files."""
    atomic_write_bytes(run.report, render_page(run).encode())


def render_page(run: RunFolder) -> str:
    """The report as HTML."""
    settings = json.loads(run.settings.read_text(encoding="utf-8"))
    rows = run.rows()
    losses = [row for row in rows if "loss" in row]
    measured = [row for row in rows if "measures" in row]
    name = html.escape(run.folder.resolve().name)
    parts = [f"<h1>{name}</h1>", render_lead(settings, losses)]
    if measured:
        parts += ["<h2>Measures on pictures held out</h2>", render_measures_table(measured)]
    if run.mattes.exists() and measured:
        parts += ["<h2>Mattes</h2>", render_mattes(run, [row["step"] for row in measured])]
    if losses:
        parts += ["<h2>Loss</h2>", render_losses(losses)]
    if len(measured) > 1:
        parts += ["<h2>Measures by step</h2>", render_measure_curves(measured)]
    parts += ["<h2>Settings</h2>", render_settings(settings)]
    body = "\n".join(parts)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>{name}</title>'
            f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n")


def render_lead(settings: dict, losses: list[dict]) -> str:
    """The paragraph under the title: steps, speed, data, task."""
    step = losses[-1]["step"] if losses else 0
    facts = [f"Step {step} of {settings['steps']}"]
    if losses:
        facts.append(f"{losses[-1]['seconds']:.2g} s a step")
    facts += [f"{settings['pictures']} pictures" if settings.get("pictures") else "composites",
              f"task {settings['task']}", f"from {settings['init']}"]
    return f"<p>{html.escape(' · '.join(facts))}</p>"


def render_measures_table(measured: list[dict]) -> str:
    """A table with the first, last and best value of each measure. measured: rows of the history."""
    rows = ["<tr><th>measure</th><th>before</th><th>last</th><th>best</th><th>at step</th></tr>"]
    for name in measured[0]["measures"]:
        values = [row["measures"][name] for row in measured]
        best = min(values) if name in SMALLER_IS_BETTER else max(values)
        step = measured[values.index(best)]["step"]
        better = values[-1] < values[0] if name in SMALLER_IS_BETTER else values[-1] > values[0]
        note = " ↓" if name in SMALLER_IS_BETTER else ""
        rows.append(f"<tr><td>{name.replace('_', ' ')}{note}</td><td>{format_number(values[0])}</td>"
                    f"<td{' class=better' if better else ''}>{format_number(values[-1])}</td>"
                    f"<td>{format_number(best)}</td><td>{step}</td></tr>")
    return (f"<table>{''.join(rows)}</table><p>↓: smaller is better. “Before” is step {measured[0]['step']}; "
            f"green: the last is better than that.</p>")


def render_mattes(run: RunFolder, steps: Sequence[int]) -> str:
    """Pictures, true masks, and mattes of up to MAX_MATTES steps, the first and last among them."""
    count = min(MAX_MATTES, len(steps))
    chosen = [steps[round(i * (len(steps) - 1) / max(1, count - 1))] for i in range(count)]
    columns = [("picture", "picture"), ("truth", "truth"),
               *((f"step {step}", f"{step:07}") for step in chosen)]
    figures = []
    for caption, name in columns:
        path = run.mattes / f"{name}.jpg"
        if path.exists():
            data = base64.b64encode(path.read_bytes()).decode()
            figures.append(f'<figure><figcaption>{caption}</figcaption><img alt="{caption}" '
                           f'src="data:image/jpeg;base64,{data}"></figure>')
    return f'<div class="mattes">{"".join(figures)}</div>'


def render_losses(losses: list[dict]) -> str:
    """Charts of the loss, its terms, the learning rate and the network size. losses: rows of the history."""
    steps = [row["step"] for row in losses]
    names = {name: None for row in losses for name in row["terms"]}
    curves = [draw_chart("total", steps, [row["loss"] for row in losses], smooth=True)]
    curves += [draw_chart(TERMS[name], *term_values(losses, name), smooth=True) for name in names]
    if len({row["rate"] for row in losses}) > 1:
        curves.append(draw_chart("learning rate", steps, [row["rate"] for row in losses]))
    if len({tuple(row["size"]) for row in losses}) > 1:
        curves.append(draw_chart("network size (height)", steps, [row["size"][0] for row in losses]))
    return (f'<div class="curves">{"".join(curves)}</div><p>Terms are shown with their weights, summed over '
            "the final and the side outputs; where the last steps go without cross-entropy, the total falls "
            "by it. Pale: as it was; dark: running mean.</p>")


def term_values(losses: list[dict], term: str) -> tuple[list[int], list[float]]:
    """Steps and values of a loss term; the last steps may lack it."""
    held = [(row["step"], row["terms"][term]) for row in losses if term in row["terms"]]
    return [step for step, _ in held], [value for _, value in held]


def render_measure_curves(measured: list[dict]) -> str:
    """A chart of each measure. measured: rows of the history."""
    steps = [row["step"] for row in measured]
    curves = [draw_chart(name.replace("_", " "), steps, [row["measures"][name] for row in measured],
                         dots=True)
              for name in measured[0]["measures"]]
    return f'<div class="curves">{"".join(curves)}</div>'


def draw_chart(
    title: str, steps: Sequence[int], values: Sequence[float], smooth: bool = False, dots: bool = False
) -> str:
    """A figure with one curve, scaled to its smallest and largest value.

    Args:
        title: caption.
        steps: of the points.
        values: of the points.
        smooth: whether to add a running mean.
        dots: whether to mark the points.
    """
    low, high = min(values), max(values)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9
    first, last = steps[0], max(steps[-1], steps[0] + 1)

    def place(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 6) * (step - first) / (last - first)
        return x, 6 + (HEIGHT - BELOW - 12) * (high - value) / (high - low)

    def path(numbers: Sequence[float], style: str = "") -> str:
        points = " ".join(f"{'ML'[i > 0]}{x:.1f} {y:.1f}"
                          for i, (x, y) in enumerate(map(place, steps, numbers)))
        return f'<path{style} d="{points}"/>'

    drawn = [path(values, ' class="raw"'), path(running_mean(values))] if smooth else [path(values)]
    if dots:
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in map(place, steps, values)]
    axes = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - 6}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 5}" y="{y + 3:.1f}" text-anchor="end">{format_number(value)}</text>'
        for value in (low, (low + high) / 2, high) for y in (place(first, value)[1],))
    axes += (f'<text x="{LEFT}" y="{HEIGHT - 4}">{first}</text>'
             f'<text x="{WIDTH - 6}" y="{HEIGHT - 4}" text-anchor="end">step {last}</text>')
    return (f'<figure><figcaption>{html.escape(title)} <b>{format_number(values[-1])}</b></figcaption>'
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
            f'{axes}{"".join(drawn)}</svg></figure>')


def running_mean(values: Sequence[float]) -> list[float]:
    """The mean of each point and those before it, over a tenth of the curve's points."""
    reach = max(1, len(values) // 10)
    return [sum(values[max(0, i - reach + 1):i + 1]) / min(i + 1, reach) for i in range(len(values))]


def format_number(value: float) -> str:
    """A number with four significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.1e}" if abs(value) < 1e-3 or abs(value) >= 1e6 else f"{value:.4g}"


def render_settings(settings: dict) -> str:
    """A table of the run's settings."""
    texts = [(name.replace("_", " "), str(value)) for name, value in settings.items() if value is not None]
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
                   for name, value in texts)
    return f'<table class="settings">{rows}</table>'
