"""Thousands of prompts through one real host, none like the one before: python tests/soak/run.py --prompts
2000

Sizes, checkpoints, number formats, nodes and batches change from prompt to prompt; some prompts are
interrupted, some fail, and models are unloaded in between. Now and then the same quiet workflow runs, after
which the host's resident memory, open files and threads are taken down. Exit code 1 where, compared with
prompt 200 (a tenth of a shorter run), memory ends more than 5 % higher or a file or a thread is left over, or
where the queue has died.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent / "host")]

from floor import comfyui  # noqa: E402
from given import clip  # noqa: E402
from host import Host, Refused, Workflow, error_of  # noqa: E402
from workflow import UNCHANGED, load, node  # noqa: E402

import birefnet  # noqa: E402

SHARE = 0.05     # by which memory may have grown
BASE = 200       # the prompt that it is compared with
LOOKS = 10       # at the quiet host, from there on
QUIET = 4        # prompts before each look
# seconds before the last of them: longer than those between two times that the nodes hand freed memory back
REST = 11
INTERRUPTED, BAD, FREED, VIDEO = 1 / 15, 1 / 40, 1 / 100, 1 / 25  # shares of all prompts

TINY = {
    "tiny.safetensors": dict(
        family="pvt_v2", widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), multi_scale="none",
        kernels=(3,), inner=8, branch=8, patch_inner=4, gate=4, size=(64, 64)),
    "swin.safetensors": dict(
        family="swin_v1", widths=(16, 32, 64, 128), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), kernels=(1, 3),
        inner=8,
        branch=8, patch_inner=8, size=(64, 64)),
}
PHOTOS = ("dandelion.jpg", "chelsea.jpg", "astronaut.jpg")


@dataclass(frozen=True)
class Look:
    """What the quiet host holds: MiB, open files, threads."""

    prompt: int
    memory: float
    files: int
    threads: int


class Soak:
    """A host, what it is fed with, and what came of it."""

    def __init__(self, host: Host, seed: int) -> None:
        self.host, self.random = host, random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.looks: list[Look] = []

    def run(self, prompts: int) -> None:
        base = min(BASE, max(1, prompts // 10))
        looks = {base, *(base + (prompts - base) * i // LOOKS for i in range(1, LOOKS + 1))}
        for prompt in range(1, prompts + 1):
            self.one()
            if prompt in looks:
                self.look(prompt)

    def one(self) -> None:
        """One prompt, whatever becomes of it; raises TimeoutError or RuntimeError where the host hangs or
        dies."""
        chance = self.random.random()
        if chance < FREED:
            self.host.free()
        workflow = self.bad() if chance > 1 - BAD else self.workflow()
        try:
            prompt = self.host.queue(workflow)
        except Refused:
            self.outcomes["refused"] += 1
            return
        if self.random.random() < INTERRUPTED:
            time.sleep(self.random.uniform(0, 0.4))
            self.host.interrupt()
        record = self.host.wait(prompt, 120)
        status = record["status"]["status_str"]
        self.outcomes[status if status == "success" else error_of(record).split(":")[0]] += 1
        if status != "success" and error_of(record) != "interrupted":
            self.errors[error_of(record).split("\n")[0][:150]] += 1

    def workflow(self) -> Workflow:
        """A picture of some size through one of the models, and what comes of its mask through some of the
        nodes."""
        pick = self.random
        frames = pick.choice((1, 1, 1, 2, 3))
        parts = {
            "photo": node("LoadImage", image=pick.choice(PHOTOS)),
            "scaled": node("ImageScale", image=["photo", 0], upscale_method="bilinear", crop="center",
                           width=pick.randrange(64, 256), height=pick.randrange(64, 256)),
            "image": node("RepeatImageBatch", image=["scaled", 0], amount=frames),
            "model": load(pick.choice(("birefnet-nano", *TINY)), dtype=pick.choice(("auto", "fp32", "bf16"))),
            "segment": node("BiRefSegment", model=["model", 0], image=["image", 0],
                            size=pick.choice((0, 64, 64, 96, 96, 128, 160, 192)),
                            frames_per_pass=pick.choice((0, 1, 2))),
            "mask": node("MaskPreview", mask=["segment", 0]),
        }
        if pick.random() < VIDEO:
            return {"model": parts["model"], "video": node("LoadVideo", file="clip.mp4"),
                    "cut": node("BiRefVideo", model=["model", 0], video=["video", 0],
                                **self.defaults("BiRefVideo") | {
                        "output": pick.choice(("transparent webm", "mask", "png sequence")), "size": 64})}
        picture, mask, model = {"image": ["image", 0]}, {"mask": ["segment", 0]}, {"model": ["model", 0]}
        more = {
            "BiRefRefineMask": picture | mask | UNCHANGED | {"grow": 2.0, "feather": 3.0, "edge_radius": 4},
            "BiRefForeground": picture | mask,
            "BiRefComposite": picture | mask | {"shadow": "drop", "light_wrap": 0.5},
            "BiRefTrimap": mask,
            "BiRefTemporal": picture | mask,
            "BiRefEdgeRefine": picture | mask | model
            | {"method": pick.choice(("guided", "closed form", "network")),
                                                         "size": 64},
            "BiRefSubject": picture | model | {"pick": "point", "x": 30, "y": 30, "size": 64},
            "BiRefInpaintCrop": picture | mask | {"megapixels": 0.05},
            "BiRefFrame": picture | mask | {"width": 300, "height": 300, "shadow": "contact"},
            "BiRefInspect": picture | mask,
            "BiRefRemoveBackground": picture | {"checkpoint": pick.choice(("birefnet-nano", *TINY))},
        }
        for number, kind in enumerate(pick.sample(sorted(more), pick.randrange(4))):
            parts[f"more{number}"] = node(kind, **self.defaults(kind) | more[kind])
            sort = self.host_info[kind]["output"][0]
            show = {"IMAGE": ("PreviewImage", "images"), "MASK": ("MaskPreview", "mask")}.get(sort)
            if show:
                parts[f"shown{number}"] = node(show[0], **{show[1]: [f"more{number}", 0]})
        return parts

    def bad(self) -> Workflow:
        """What fails: a checkpoint that is missing, or pictures and masks that do not fit together."""
        parts = self.workflow()
        parts["model"] = load("missing.safetensors")
        parts["photo"] = parts.get("photo") or node("LoadImage", image=PHOTOS[0])
        return parts

    def defaults(self, kind: str) -> dict:
        """A node's widgets as they are when it is put on the page."""
        given = {}
        for group in ("required", "optional"):
            for name, spec in self.host_info[kind]["input"].get(group, {}).items():
                if isinstance(spec[0], list) or len(spec) > 1 and "default" in spec[1]:
                    given[name] = spec[1].get("default", spec[0][0] if isinstance(spec[0], list) else None)
        return given

    @property
    def host_info(self) -> dict:
        if not hasattr(self, "_info"):
            self._info = self.host.object_info()
        return self._info

    def look(self, prompt: int) -> None:
        """The same quiet workflow some times, then what the process holds."""
        for number in range(QUIET):
            time.sleep(REST if number == QUIET - 1 else 0)
            self.host.run({
                "photo": node("LoadImage", image=PHOTOS[number % 2]),
                "image": node("ImageScale", image=["photo", 0], upscale_method="bilinear", crop="center",
                              width=256,
                              height=192),
                "model": load(dtype="fp32"),
                "segment": node("BiRefSegment", model=["model", 0], image=["image", 0], size=192,
                                frames_per_pass=0),
                "mask": node("MaskPreview", mask=["segment", 0])}, 120)
        time.sleep(1)
        self.looks.append(Look(prompt, *holdings(self.host.pid)))
        print(f"prompt {prompt:5}: {self.looks[-1].memory:7.1f} MiB, {self.looks[-1].files} files, "
              f"{self.looks[-1].threads} threads", flush=True)

    def faults(self, share: float = SHARE) -> list[str]:
        """What is wrong in the end; empty where all is well."""
        first, last, found = self.looks[0], self.looks[-1], []
        if last.memory > (1 + share) * first.memory:
            found.append(f"memory grew from {first.memory:.1f} to {last.memory:.1f} MiB")
        if last.files > first.files:
            found.append(f"{last.files - first.files} files were left open")
        if last.threads > first.threads:
            found.append(f"{last.threads - first.threads} threads were left over")
        return found


def holdings(pid: int) -> tuple[float, int, int]:
    """Resident MiB, open files and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])


@contextlib.contextmanager
def soaking(folder: Path, seed: int = 0):
    """A host with three checkpoints, three photos and a clip."""
    home, python = comfyui()
    models, inputs = folder / "models" / "BiRefNet", folder / "input"
    models.mkdir(parents=True)
    inputs.mkdir()
    torch.manual_seed(0)
    for name, config in TINY.items():
        birefnet.save(birefnet.BiRefNet(birefnet.Config(**config)).initialize().eval(), models / name)
    for name in PHOTOS:
        (inputs / name).write_bytes((ROOT / "tests" / "data" / name).read_bytes())
    with Image.open(inputs / PHOTOS[0]) as photo:
        clip(inputs / "clip.mp4", photo.convert("RGB"), frames=5, size=(96, 72))
    with mock.patch.dict(os.environ):
        # two threads that wait for each other are slow when busy
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        with Host(home, folder, python) as host:
            yield Soak(host, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, soaking(Path(folder), args.seed) as soak:
        soak.run(args.prompts)
        found = soak.faults()
    print(f"{args.prompts} prompts in {time.monotonic() - began:.0f} s: {dict(soak.outcomes)}")
    for message, count in soak.errors.most_common():
        print(f"  {count:5} × {message}")
    print("; ".join(found) or "nothing grew, nothing was left over, the queue is alive")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
