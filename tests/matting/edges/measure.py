"""Measures how much each method of birefnet.matting.edges mends around the true edges of photographs with
known mattes.

    python tests/matting/edges/measure.py FOLDER... [--model FILE]        # each with im/<stem>.* and
    gt/<stem>.png

prints two errors on the mean of all photographs, where the first matte is the checkpoint's, and where it is
the truth seen through 384 pixels, which a network cannot look at again: the mean absolute error, and the mean
squared error of the gradient (the gradient error of matting, per pixel), both within a 64th of the longer
side around what the truth has between 0.05 and 0.95.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import birefnet  # noqa: E402
from birefnet.evaluation.matting import gradient_error  # noqa: E402
from birefnet.imaging import pictures  # noqa: E402
from birefnet.imaging.resize import resample  # noqa: E402
from birefnet.matting import edges  # noqa: E402

NANO = ROOT / "weights" / "birefnet-nano.safetensors"
SEEN = (384, 384)  # what is left of the truth's detail
REACH = 64         # of the longer side: how far from the true edge errors count


def near_edges(truth: np.ndarray) -> np.ndarray:
    """bool [H,W]."""
    soft = (truth > 0.05) & (truth < 0.95)
    return ndimage.distance_transform_edt(~soft) <= max(truth.shape) / REACH


def errors(alpha: torch.Tensor, truth: np.ndarray, region: np.ndarray) -> tuple[float, float]:
    found = alpha[0].numpy().astype(float)
    return float(np.abs(found - truth)[region].mean()), 1000 * gradient_error(found, truth,
                                                                              region) / region.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders with im/ and gt/")
    parser.add_argument("--longest", type=int, default=1920, help="longer side to which larger pictures are "
                                                                  "reduced")
    parser.add_argument("--model", type=Path, default=NANO)
    options = parser.parse_args()
    model = birefnet.load(options.model)
    look = partial(birefnet.matte, model)
    rows: dict[str, list[tuple[float, ...]]] = {}
    for folder in options.folders:
        for matte in sorted((folder / "gt").glob("*.png")):
            image = pictures.read(next((folder / "im").glob(matte.stem + ".*")))[..., :3]
            share = min(1.0, options.longest / max(image.shape[1:3]))
            size = round(image.shape[1] * share), round(image.shape[2] * share)
            image = resample(image.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1).clamp(0, 1)
            known = resample(pictures.read(matte)[..., :1].permute(0, 3, 1, 2), size)[:, 0].clamp(0, 1)
            blurred = resample(resample(known[None], SEEN), size)[:, 0].clamp(0, 1)
            truth = known[0].numpy().astype(float)
            region = near_edges(truth)
            for first, mask in (("checkpoint", look(image)), ("truth", blurred)):
                methods = [method for method in edges.METHODS if first == "checkpoint" or method != "network"]
                results = {"before": mask,
                           **{method: edges.refine(mask, image, look, method=method) for method in methods}}
                if "network" in results:
                    results["network, then closed form"] = edges.refine(results["network"], image)
                for method, alpha in results.items():
                    rows.setdefault(f"{first}: {method}", []).append(errors(alpha, truth, region))
            print(matte.stem, flush=True)
    for name, values in rows.items():
        error, gradient = np.mean(values, 0)
        print(f"{name:40} {error:.3f} {gradient:.3f}   ({len(values)} photographs)")


if __name__ == "__main__":
    main()
