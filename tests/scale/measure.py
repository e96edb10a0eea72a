"""Figures of `cut` at scale, by command:  python tests/scale/measure.py engines|inputs|memory [options]

engines: wall and processor time of both engines on the same photographs, by turns.
inputs:  what one photograph costs in each step, and how many bytes pass between steps (for
docs/many-machines.md). memory:  resident memory of a run over many tiny pictures, of the driver and of all
its processes, while it goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "tests" / "data").glob("*.jpg"))


def make(folder: Path, count: int, size: tuple[int, int] | None) -> None:
    """`count` pictures: the repository's photographs in turn, scaled to `size` (width, height) where one is
    given."""
    folder.mkdir(parents=True)
    scaled = []
    for path in PHOTOS[:count]:
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
            target = folder.parent / path.name
            (picture.resize(size, Image.Resampling.LANCZOS) if size else picture).save(target, quality=90)
            scaled.append(target)
    for number in range(count):
        os.link(scaled[number % len(scaled)], folder / f"{number:07}.jpg")


def cut(folder: Path, out: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "birefnet", "cut", str(folder), "-o", str(out), *options],
                            cwd=ROOT,
                            stderr=subprocess.PIPE, text=True)


def family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Watch(threading.Thread):
    """Samples a process and its children: seconds, results, the driver's and everybody's memory, processor
    seconds."""

    def __init__(self, pid: int, out: Path, every: float,
                 tell: Callable[..., None] = lambda *_: None) -> None:
        super().__init__(daemon=True)
        self.process, self.out, self.every, self.tell = psutil.Process(pid), out, every, tell
        self.samples = []
        self.start()

    def run(self) -> None:
        begin = time.monotonic()
        used: dict[int, float] = {}
        while self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE:
            unique = {}
            for member in family(self.process):
                try:
                    unique[member.pid] = member.memory_full_info().uss
                    used[member.pid] = sum(member.cpu_times()[:2])
                except psutil.Error:
                    continue
            results = len(os.listdir(self.out)) if self.out.is_dir() else 0
            self.samples.append((time.monotonic() - begin, results, unique.get(self.process.pid, 0),
                                 sum(unique.values()), sum(used.values())))
            self.tell(*self.samples[-1])
            time.sleep(self.every)


def engines(args: argparse.Namespace, scratch: Path) -> None:
    make(scratch / "in", args.count, (args.width, args.width * 3 // 4))
    # How long an empty run takes (imports, the checkpoint, Ray's start) is taken off: it does not grow with
    # the count.
    make(scratch / "one", 1, (args.width, args.width * 3 // 4))
    times: dict[str, list[tuple[float, float]]] = {"plain": [], "ray": []}
    for round_ in range(args.rounds):
        for engine, seen in times.items():
            spent = []
            for folder in ("one", "in"):
                out = scratch / f"{engine}{round_}{folder}"
                begin = time.monotonic()
                process = cut(scratch / folder, out, "--engine", engine, "--size", args.size, "--model",
                              args.model)
                watch = Watch(process.pid, out, 0.2)
                process.communicate()
                watch.join()
                spent.append((time.monotonic() - begin, watch.samples[-1][-1]))
                shutil.rmtree(out)
            seen.append(tuple(many - one for one, many in zip(*spent)))
            print(f"{engine}: {spent[1][0]:.1f} s with the start, {seen[-1][0]:.1f} s without "
                  f"({seen[-1][0] / (args.count - 1):.3f} s a picture), processor {seen[-1][1]:.1f} s",
                  flush=True)
    plain, ray = ([median(run[kind] for run in times[engine]) for kind in (0, 1)]
                  for engine in ("plain", "ray"))
    print(f"ray over plain: wall {ray[0] / plain[0]:.3f}, processor {ray[1] / plain[1]:.3f}")


def inputs(args: argparse.Namespace, scratch: Path) -> None:
    import torch

    from birefnet.cli.cut import steps
    from birefnet.cli.cut.manifest import Job
    from birefnet.cli.models import find_checkpoint, read_config

    torch.set_num_threads(1)
    make(scratch / "in", args.count, (args.width, args.width * 3 // 4))
    look = steps.CutOptions(read_config(find_checkpoint(args.model)), 1024, False, {}, None, False, True)
    seconds: dict[str, list[float]] = {"read": [], "finish": [], "finish in grey": []}
    sizes: dict[str, list[int]] = {"source": [], "between": [], "result": [], "result in grey": []}
    for path in sorted((scratch / "in").iterdir()):
        job = Job(str(path), str(scratch / f"{path.stem}.png"))
        begin = time.process_time()
        picture = steps.read(job, look, keep=False)
        seconds["read"].append(time.process_time() - begin)
        sizes["source"].append(len(picture.content))
        sizes["between"].append(len(picture.content) + picture.x.numel() * 4)
        # The matte of the file itself is not needed: one with a subject of a third, and soft edges.
        height, width = picture.x.shape[2:]
        radius = torch.linspace(-1, 1, height)[:, None] ** 2 + torch.linspace(-1, 1, width)[None] ** 2
        picture.small = ((0.45 - radius) * 20).sigmoid()[None]
        for kind in ("finish", "finish in grey"):
            grey = steps.CutOptions(look.config, look.size, kind != "finish", {}, None, False, True)
            begin = time.process_time()
            outcome = steps.finish(picture, grey)
            seconds[kind].append(time.process_time() - begin)
            assert not outcome.error, outcome.error
            sizes[kind.replace("finish", "result")].append(Path(job.target).stat().st_size)
    print(f"{args.width} x {args.width * 3 // 4}, network 1024 x 1024, one core, {args.count} photographs; "
          "medians")
    for name, values in seconds.items():
        print(f"{name}: {median(values):.3f} s")
    for name, values in sizes.items():
        print(f"{name}: {median(values) / 1e6:.2f} MB")


def memory(args: argparse.Namespace, scratch: Path) -> None:
    folder = scratch / "in"
    folder.mkdir()
    blobs = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(blobs).resize((48, 32)).save(scratch / "tiny.jpg")
    for number in range(args.count):
        if number % 50_000 == 0:  # a file has only so many names
            source = shutil.copy(scratch / "tiny.jpg", scratch / f"tiny{number}.jpg")
        os.link(source, folder / f"{number:07}.jpg")
    process = cut(folder, scratch / "out", "--engine", args.engine, "--size", "64", "--mask", "--model",
                  args.model)
    print(f"{'s':>6} {'results':>8} {'driver MiB':>11} {'all MiB':>8}")
    Watch(process.pid, scratch / "out", args.every, lambda seconds, results, driver, everybody, _: print(
        f"{seconds:6.0f} {results:8} {driver / 2**20:11.1f} {everybody / 2**20:8.1f}", flush=True))
    print(process.communicate()[1].splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("engines", "inputs", "memory"))
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=4000, help="of photographs; their height is three "
                                                                "quarters of it")
    parser.add_argument("--size", default="1024")
    parser.add_argument("--model", default="birefnet-nano")
    parser.add_argument("--engine", default="ray")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between samples of memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        {"engines": engines, "inputs": inputs, "memory": memory}[args.what](args, Path(scratch))


if __name__ == "__main__":
    main()
