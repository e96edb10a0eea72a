"""How long a matte takes beside other busy programs, by how PyTorch's threads wait for each other.

    python tests/device/measure_threads.py [--busy N] [--size N] [--rounds N]

Seconds of one pass of the included checkpoint in fp32, and the processor time that it took: medians, the ways
taking turns beside N programs that do nothing but compute. Each way is a process of its own with one
thread for each processor.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT"
WAYS = {"PyTorch by itself": "", "one thread": "one", "nodes (short_waits)": "nodes",
        "commands (passive)": "command"}
SHAPE = 1, 720, 1080, 3  # of the photograph


def serve(way: str, size: int) -> None:
    """Mattes once for each line of input, and prints the seconds by the clock and of processors."""
    if way == "command":
        from birefnet.__main__ import main

        main([])  # sets what PyTorch reads when it is loaded
    import torch

    import birefnet
    from birefnet.device.threads import short_waits

    torch.set_num_threads(1 if way == "one" else len(os.sched_getaffinity(0)))
    network = birefnet.load(ROOT / "weights" / "birefnet-nano.safetensors", dtype=torch.float32)
    photograph = torch.rand(SHAPE)
    with short_waits() if way == "nodes" else contextlib.nullcontext():
        birefnet.matte(network, photograph, size)
        print("ready", flush=True)
        for _ in sys.stdin:
            began = time.perf_counter(), time.process_time()
            birefnet.matte(network, photograph, size)
            print("took", time.perf_counter() - began[0], time.process_time() - began[1], flush=True)


def start(way: str, size: int) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    process = subprocess.Popen([sys.executable, __file__, "--serve", way, "--size", str(size)],
                               env=environment | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    read(process, "ready")
    return process


def read(process: subprocess.Popen, word: str) -> list[float]:
    """The numbers of the next line that begins with the word."""
    for line in process.stdout:
        if line.startswith(word):
            return [float(number) for number in line.split()[1:]]
    raise RuntimeError(f"a process ended with {process.wait()}")


def measure(busy: int, size: int, rounds: int) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    with contextlib.ExitStack() as started:
        def add(process: subprocess.Popen) -> subprocess.Popen:
            started.callback(process.kill)
            return process

        processes = {name: add(start(way, size)) for name, way in WAYS.items()}
        for _ in range(busy):
            add(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        for _ in range(rounds):
            for name, process in processes.items():
                print("go", file=process.stdin, flush=True)
                found[name].append(read(process, "took"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=0, help="programs beside it (default: %(default)s)")
    parser.add_argument("--size", type=int, default=512, help="of the network, pixels (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--serve", choices=("", *WAYS.values()), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        return serve(args.serve, args.size)
    print(f"| beside {args.busy} busy programs, {len(os.sched_getaffinity(0))} processors | seconds | "
          "processor seconds |\n|---|---|---|")
    for name, taken in measure(args.busy, args.size, args.rounds).items():
        clock, processor = (statistics.median(times) for times in zip(*taken))
        print(f"| {name} | {clock:.2f} | {processor:.2f} |", flush=True)


if __name__ == "__main__":
    main()
