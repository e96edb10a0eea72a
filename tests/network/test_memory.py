"""What a pass is said to need is what it needs, and a plan keeps to what is free."""

import multiprocessing
import os
import platform
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from growth import growth
from tiny_build import TINY, random_state

import birefnet
from birefnet import Config, activation_bytes, plan
from birefnet.network.cost import MIN_BUDGET_BYTES, WORKSPACE_BYTES, Plan

MIB = 1 << 20
SMALL = dict(family="pvt_v2", widths=(32, 64, 160, 256), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8),
             kernels=(1, 3),
             inner=32, branch=64, patch_inner=32)
LITE = dict(family="efficientnet_lite", encoder="tf_efficientnet_lite2", widths=(24, 48, 120, 352),
            multi_scale="none",
            attention="plain", branch=48, patch_inner=16)
TIMM = dict(family="timm", encoder="convnext_atto", widths=(40, 80, 160, 320), multi_scale="none",
            attention="none",
            patch_inner=16)
DINO = dict(family="dino_v3", widths=(384,) * 4, depths=(1, 1, 1, 1), heads=(6, 6, 6, 6),
            neck=(32, 64, 160, 256),
            kernels=(1, 3), inner=32, branch=64, patch_inner=32)
SWIN_T = dict(family="swin_v1", widths=(96, 192, 384, 768), depths=(2, 2, 2, 2), heads=(3, 6, 12, 24))


def peak(config: dict, size: int, form: str, budget: int | None) -> tuple[int, int]:
    """Bytes by which a fresh process grows in one pass, and the estimate."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        return pool.submit(growth, config, size, form, budget).result()


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(),
                                reason="resident memory is read from /proc, Linux only")


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("config, size, form, budget", [
    (SMALL, 768, "plain", None), (SMALL, 768, "inference", None), (SMALL, 1280, "inference", 16 * MIB),
    (SMALL, 1280, "inference", 1 << 40),
    (LITE, 768, "plain", None), (LITE, 1024, "inference", None), (LITE, 1280, "inference", 16 * MIB),
    (TIMM, 768, "plain", None), (TIMM, 768, "inference", None),
    (DINO, 768, "plain", None), (DINO, 1024, "inference", None), (DINO, 1024, "inference", 16 * MIB),
    (SWIN_T, 384, "plain", None), (SWIN_T, 384, "inference", None), (SWIN_T, 768, "inference", 16 * MIB),
    (SWIN_T, 768, "inference", 1 << 40),
], ids=lambda value: value.get("family") if isinstance(value, dict) else str(value))
def test_the_estimate_covers_the_measured_peak_without_wild_excess(config, size, form, budget):
    measured, estimate = peak(config, size, form, budget)
    assert measured < estimate < 3 * measured + 2 * WORKSPACE_BYTES, (
        f"measured {measured >> 20} MiB, estimated {estimate >> 20} MiB")


@pytest.fixture
def swin():
    return birefnet.load(random_state(Config(**{**SWIN_T, "widths": (24, 48, 96, 192),
                                                "heads": (1, 2, 4, 8)})))


def test_a_plan_takes_as_many_frames_as_fit(swin):
    five = activation_bytes(swin, (1024, 1024), 5)
    fits = plan(swin, (1024, 1024), 16, five)
    assert fits.frames == 5 and fits.budget is None and fits.peak == five
    assert plan(swin, (1024, 1024), 16, five - MIB).frames == 4
    assert plan(swin, (1024, 1024), 3, five).frames == 3
    assert plan(swin, (1024, 1024), 16, five + 50 * MIB, extra_bytes=10 * MIB).frames == 5
    assert plan(swin, (1024, 1024), 16, five + 49 * MIB, extra_bytes=10 * MIB).frames == 4


def test_where_not_one_frame_fits_the_steps_get_smaller(swin):
    swin.to("meta")  # another device than the CPU, where nothing is bounded unless it must be
    size = (2048, 2048)
    whole, maps = activation_bytes(swin, size), activation_bytes(swin, size, budget=0)
    room = maps + (whole - maps) // 2
    cut = plan(swin, size, 4, room)
    assert cut.frames == 1 and cut.budget == room - maps and cut.peak == room
    least = plan(swin, size, 4, 1)
    assert least == Plan(size, 1, MIN_BUDGET_BYTES, activation_bytes(swin, size, 1, MIN_BUDGET_BYTES))


def test_without_knowing_what_is_free_all_is_tried(swin):
    assert plan(swin, (512, 512), 7).frames == 7


def test_a_budget_does_not_change_the_matte(tiny_state):
    model = birefnet.load(tiny_state)
    photo = torch.rand(2, 90, 70, 3)
    expected = birefnet.matte(model, photo, 256)
    model.budget_bytes = 1 << 12
    assert torch.allclose(birefnet.matte(model, photo, 256), expected, atol=1e-5)


def test_the_plain_form_obeys_no_budget():
    model = birefnet.BiRefNet(TINY)
    assert activation_bytes(model, (512, 512), budget=1) == activation_bytes(model, (512, 512))


FREED = """
import torch
from birefnet.device.memory import trim_heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

kept = [torch.ones(16384) for _ in range(3000)]  # 64 KiB each, which come from the heap
kept = kept[::100]                               # the gaps between them cannot be cut off at its end
before = resident()
trim_heap()
print(before - resident(), sum(float(tensor.sum()) for tensor in kept) == 30 * 16384)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do not keep it")
def test_freed_memory_is_handed_back():
    run = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert run.returncode == 0, run.stderr
    returned, whole = run.stdout.split()
    assert int(returned) > 100 * MIB and whole == "True"
