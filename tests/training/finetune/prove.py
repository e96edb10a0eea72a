"""Proof that fine-tuning learns: a checkpoint's IoU on cracks before and after, on walls and cracks of other
kinds.

    python tests/training/finetune/prove.py [--what head lora all] [--steps 300] [--checkpoint FILE] [--sheet
    PICTURE]

prints a table; the last line of it is on the pictures that were learned from.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).parents[3]), str(Path(__file__).parent)]

import cracks  # noqa: E402

import birefnet  # noqa: E402
from birefnet.training.finetune import finetune  # noqa: E402

NANO = Path(__file__).parents[3] / "weights" / "birefnet-nano.safetensors"
SHOWN = 3    # of the held out pictures: one of each kind of wall
WIDTH = 540  # of the sheet: the help page's panel is narrow


def masks_of(model: birefnet.BiRefNet, images: Tensor) -> Tensor:
    return torch.cat([birefnet.matte(model, image[None]) for image in images])


def iou(found: Tensor, known: Tensor) -> float:
    """Mean over pictures [N,H,W] of intersection over union at one half."""
    a, b = found > 0.5, known > 0.5
    return ((a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp_min(1)).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", default=["head", "lora", "all"])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=NANO)
    parser.add_argument("--sheet", type=Path, help="where to draw what was held out: picture, mask, before, "
                                                   "after")
    told = parser.parse_args()
    images, masks = cracks.pictures("training", 30, told.seed)
    unseen, known = cracks.pictures("held out", 48, told.seed)
    base = birefnet.load(told.checkpoint)
    found = masks_of(base, unseen)
    before = iou(found, known)
    print(f"held out, before: IoU {before:.3f}", flush=True)
    print("| what | held out | gain | learned from | loss | seconds |\n|---|---|---|---|---|---|", flush=True)
    rows = [unseen, known, found]
    for what in told.what:
        began = time.monotonic()
        tuned = finetune(birefnet.load(told.checkpoint, form="plain"), images, masks, what=what,
                         steps=told.steps,
                         batch=told.batch, rate=told.rate, rank=told.rank, seed=told.seed)
        spent = time.monotonic() - began
        model = birefnet.load(told.checkpoint,
                              adapters=[(tuned.adapter, 1.0)]) if tuned.adapter else tuned.model
        found = masks_of(model, unseen)
        after = iou(found, known)
        print(f"| {what} | {after:.3f} | {after - before:+.3f} | {iou(masks_of(model, images), masks):.3f} | "
              f"{tuned.loss:.1f} | {spent:.0f} |", flush=True)
        rows.append(found)
    if told.sheet:
        draw(told.sheet, [row[:SHOWN] for row in rows])


def draw(path: Path, rows: list[Tensor]) -> None:
    """Pictures [N,H,W,3] and masks [N,H,W], row under row, `WIDTH` pixels wide."""
    from torchvision.transforms.functional import to_pil_image
    from torchvision.utils import make_grid

    pictures = [(row.permute(0, 3, 1, 2) if row.ndim == 4 else row[:, None].expand(-1, 3, -1, -1))
                for row in rows]
    sheet = to_pil_image(make_grid(torch.cat(pictures), nrow=len(rows[0])))
    sheet.thumbnail((WIDTH, sheet.height))
    sheet.save(path, quality=85)


if __name__ == "__main__":
    main()
