"""Computes reference.json with the public implementations, for tests that have neither:

    pip install pysodmetrics==1.4.2 opencv-python-headless scikit-image
    python tests/evaluation/reference.py BIREFNET

pysodmetrics gives the saliency measures; BIREFNET, a checkout of the network's authors' repository, gives
HCE.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import py_sod_metrics
from cases import CASES
from skimage.morphology import skeletonize


def main(authors: Path) -> None:
    sys.path.insert(0, str(authors / "evaluation"))
    from metrics import HCEMeasure

    found = {}
    for name, (prediction, truth) in CASES.items():
        measures = {"s_measure": py_sod_metrics.Smeasure(), "weighted_f": py_sod_metrics.WeightedFmeasure(),
                    "e": py_sod_metrics.Emeasure(), "f": py_sod_metrics.Fmeasure(),
                    "mae": py_sod_metrics.MAE()}
        for measure in measures.values():
            measure.step(prediction, truth)
        results = {key: measure.get_results() for key, measure in measures.items()}
        efforts = HCEMeasure()
        efforts.step(prediction.copy(), truth.copy(), skeletonize(truth > 128))
        f, e = results["f"]["fm"]["curve"], results["e"]["em"]["curve"]
        found[name] = {"s_measure": results["s_measure"]["sm"], "weighted_f": results["weighted_f"]["wfm"],
                       "mae": results["mae"]["mae"], "e_measure": e.mean(), "mean_f": f.mean(),
                       "max_f": f.max(),
                       "e_at_100": e[155], "f_at_100": f[155], "hce": efforts.get_results()["hce"]}
    target = Path(__file__).with_name("reference.json")
    text = {name: {key: float(value) for key, value in values.items()} for name, values in found.items()}
    target.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(Path(sys.argv[1]))
