"""Measure how well a prompt chooses one of several subjects:  python -m tools.subject.measure CACHE [options]

CACHE is a folder of cut-outs; if it is empty, it is filled from the Debian packages of weights/NANO.md
(gcompris-qt-data, krank, petsc3.18-doc, sqlite3-doc). Each of --count pictures shows two or three subjects
(see scenes.py). One of them is chosen by a random click, by a box drawn with a hand's error, and by a stroke.
For each prompt: the mean IoU, the share of pictures with a wrong subject (the result has a higher IoU with
another subject, or with all others together), the share without a result, and seconds. --pairs takes the
subjects from folders with im/ and gt/ instead, which the checkpoint was not trained on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import birefnet
import weights
from birefnet.checkpoint.selector import load_selector
from birefnet.matting import subject

from . import prompts, scenes

PROMPTS = ("click", "box", "scribble")


def prompt_of(prompt: str, given) -> subject.Prompt:
    """Return the Prompt of a click (x, y), a Box, or a stroke [H,W]."""
    if prompt == "click":
        return subject.Prompt(points=(given,))
    if prompt == "box":
        return subject.Prompt(box=given)
    return subject.Prompt(scribble=torch.from_numpy(given)[None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first picture")
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--model", type=Path, default=weights.NANO)
    parser.add_argument("--selector", type=Path, default=weights.SELECTOR)
    parser.add_argument("--prompts", default=",".join(PROMPTS))
    parser.add_argument("--sources", choices=("all", "held out", "learned"), default="held out",
                        help="which cut-outs: those the selector was not trained on, the others, or all")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, help="folder for scores.json and pictures of the results")
    args = parser.parse_args()

    network = birefnet.load(args.model)
    selector = load_selector(args.selector)
    sources = scenes.read_sources(args.cache, args.sources, args.pairs)
    rows = []
    for number in range(args.first, args.first + args.count):
        rng = np.random.default_rng([args.seed, number])
        scene = scenes.compose(sources, rng)
        chosen = int(rng.integers(len(scene.alphas)))
        truth = scene.alphas[chosen]
        given = {"click": prompts.draw_click(truth, rng), "box": prompts.draw_box(truth, rng),
                 "scribble": prompts.draw_scribble(truth, rng)}
        others = [alpha for i, alpha in enumerate(scene.alphas) if i != chosen]
        others.append(np.clip(sum(others), 0, 1))
        picture = torch.from_numpy(scene.image).float().div(255)[None]
        for prompt in args.prompts.split(","):
            passes = 0

            def ask(pictures: torch.Tensor) -> torch.Tensor:
                nonlocal passes
                passes += len(pictures)
                return birefnet.matte(network, pictures)

            start = time.process_time()
            found = subject.select(ask, selector, picture, prompt_of(prompt, given[prompt]))[0].numpy()
            seconds = time.process_time() - start
            score = prompts.iou(found, truth)
            rows.append({"picture": number, "prompt": prompt, "iou": score, "overlapping": scene.overlapping,
                         "alike": scene.alike, "empty": bool((found <= 0.5).all()), "passes": passes,
                         "wrong": max(prompts.iou(found, other) for other in others) > score,
                         "seconds": seconds})
            if args.out is not None:
                draw(args.out / f"{prompt}_{score:.2f}_{number:03d}.jpg", scene.image, given[prompt], found,
                     truth)
    report(rows)
    if args.out is not None:
        (args.out / "scores.json").write_text(json.dumps(rows))


def report(rows: list[dict]) -> None:
    """Print a table of means: a line for each prompt and kind of picture."""
    kinds = (("all", lambda row: True), ("apart", lambda row: not row["overlapping"]),
             ("overlapping", lambda row: row["overlapping"]), ("of one kind", lambda row: row["alike"]))
    print("| prompt | pictures | mean IoU | IoU < .5 | wrong subject | nothing found | passes | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for prompt in dict.fromkeys(row["prompt"] for row in rows):
        for name, belongs in kinds:
            some = [row for row in rows if row["prompt"] == prompt and belongs(row)]
            if some:
                mean = {key: np.mean([float(row[key]) for row in some])
                        for key in ("iou", "wrong", "empty", "passes", "seconds")}
                low = np.mean([row["iou"] < 0.5 for row in some])
                print(f"| {prompt} | {name}, {len(some)} | {mean['iou']:.3f} | {low:.1%} | "
                      f"{mean['wrong']:.1%} | {mean['empty']:.1%} | {mean['passes']:.1f} | "
                      f"{mean['seconds']:.2f} |")


def draw(path: Path, image: np.ndarray, given, found: np.ndarray, truth: np.ndarray) -> None:
    """Save the picture with its prompt, the result, and the true subject, side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    marked = image.copy()
    if isinstance(given, np.ndarray):
        marked[given > 0] = (255, 0, 0)
    elif isinstance(given, subject.Box):
        for rows, columns in ((given.top, slice(None)), (given.bottom - 1, slice(None))):
            marked[rows, given.left:given.right] = (255, 0, 0)
        marked[given.top:given.bottom, [given.left, given.right - 1]] = (255, 0, 0)
    else:
        x, y = given
        marked[max(0, y - 6):y + 7, max(0, x - 6):x + 7] = (255, 0, 0)
    views = [marked, *((mask[..., None] * image + (1 - mask[..., None]) * (90, 0, 90)).astype(np.uint8)
                       for mask in (found, truth))]
    sheet = Image.fromarray(np.hstack(views))
    sheet.thumbnail((1200, 1200))
    sheet.save(path, quality=80)


if __name__ == "__main__":
    main()
