"""Exporting inside the host: the node's file is in the output folder and runs in onnxruntime."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
from host import iou
from known import LEAST_IOU
from workflow import load, node

import weights


def test_the_included_checkpoint_goes_out_and_cuts_a_photograph(host, pixels, known):
    record = host.run({"model": load(), "export": node(
        "BiRefExport", model=["model", 0], contract="image of any size to alpha", portable=True, dtype="fp32",
        size=0, filename_prefix="onnx/nano")})
    file = host.base / "output" / "onnx" / "nano_00001_.onnx"
    assert file.name in record["outputs"]["export"]["text"][0]
    told = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    included = weights.entry("birefnet-nano")
    assert (told["source"]["model"], told["source"]["licence"]) == (included.name, included.license)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    [alpha] = session.run(["alpha"], {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})
    assert iou(alpha[0, 0], known) > LEAST_IOU


def test_a_name_outside_the_output_folder_is_refused(host):
    message = host.fail({"model": load(), "export": node(
        "BiRefExport", model=["model", 0], contract="image to alpha", portable=True, dtype="fp32", size=0,
        filename_prefix="../nano")})
    assert "filename_prefix" in message
