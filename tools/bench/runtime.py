"""Runs an exported file with another runtime as a contender, in a process without PyTorch.

Answers each line of its standard input with a timed pass, as worker.py does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from .resident import peak_resident_bytes, resident_bytes

INPUT, OUTPUT = "input_image", "output_image"  # names in a file that is exported with raw=True
# Name → whether it runs the portable file.
RUNTIMES = {"onnxruntime": False, "ort-portable": True, "openvino": True}


def main(job: dict) -> None:
    """Load a file, and run it for each line of standard input.

    Args:
        job: `file` (.onnx), `image` (.npy), `result` (.npy, to which alpha is saved), `form` and `threads`.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print, which must not mix with the answers

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        started = time.perf_counter()
        run = {"openvino": open_openvino}.get(job["form"], open_onnxruntime)(job["file"], job["threads"])
        answer(load=time.perf_counter() - started)
        image = np.load(job["image"])
        for _ in sys.stdin:
            started = time.perf_counter()
            logits = run(image)
            seconds = time.perf_counter() - started
            if not os.path.exists(job["result"]):
                np.save(job["result"], 1 / (1 + np.exp(-logits)))
            answer(seconds=seconds, peak=peak_resident_bytes(), now=resident_bytes())
    except Exception as error:
        answer(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def open_onnxruntime(file: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file in onnxruntime on the CPU, with default options except for the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run([OUTPUT], {INPUT: image})[0]


def open_openvino(file: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file in OpenVINO on the CPU, with float32 arithmetic as in the others."""
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
    return lambda image: compiled([image])[compiled.output(0)]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
