"""Another runtime as a contender: runs an exported file, in a process without PyTorch.

Answers each line of its standard input with a timed pass, as worker.py does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from birefnet.device.resident import resident_now, resident_peak

INPUT, OUTPUT = "input_image", "output_image"  # of a raw file
# Name → whether it runs the portable file.
RUNTIMES = {"onnxruntime": False, "ort-portable": True, "openvino": True}


def main(job: dict) -> None:
    """Loads and runs one file.

    Args:
        job: `file` (.onnx), `image` (.npy), `result` (.npy, where the alpha goes), `form` and `threads`.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer

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
            answer(seconds=seconds, peak=resident_peak(), now=resident_now())
    except Exception as error:
        answer(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def open_onnxruntime(file: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """onnxruntime on the CPU, with its defaults but for the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run([OUTPUT], {INPUT: image})[0]


def open_openvino(file: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """OpenVINO on the CPU, told to compute in float32 as the others do."""
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
    return lambda image: compiled([image])[compiled.output(0)]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
