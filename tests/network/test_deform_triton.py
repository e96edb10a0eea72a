"""The Triton gather against the plain one: in Triton's interpreter on the CPU, and compiled for GPUs."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from birefnet.network import deform
from birefnet.network.deform import triton as deform_triton

ROOT = Path(__file__).parents[2]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton here")

INTERPRETED = """
import itertools, torch
from birefnet.network import deform
from birefnet.network.deform import plain
from birefnet.network.deform import triton as deform_triton

deform_triton.SCRATCH_BYTES = 1 << 14  # many runs of positions, the last one short
many = []
torch.manual_seed(0)


def compare(x, offset, modulation, side, tolerance):
    expected = torch.cat(list(plain.deformed_columns(x.float(), offset.float(), modulation.float(), side)))
    runs = list(deform_triton.deformed_columns(x, offset, modulation, side))
    assert all(run.dtype == x.dtype for run in runs)
    many.append(len(runs) > 1)
    columns = torch.cat(runs).float()
    assert columns.shape == expected.shape
    error = ((columns - expected).abs() / expected.abs().clamp(min=1)).max().item()
    assert error <= tolerance, (tuple(x.shape), x.dtype, side, error)
    return columns


with torch.inference_mode():
    for (dtype, tolerance), (side, spread, width), channels in itertools.product(
            [(torch.float32, 1e-5), (torch.float16, 2**-11), (torch.bfloat16, 2**-7)],  # bf16 is truncated
            [(1, .4, 11), (3, 100, 11), (7, 4, 5)], (6, 64)):
        x = torch.randn(2, channels, 3, width).to(dtype)
        offset = spread * torch.randn(2, 2 * side**2, 3, width)
        modulation = 2 * torch.rand(2, side**2, 3, width)
        compare(x, offset, modulation, side, tolerance)
    # As in the network: channels-last; offsets and modulation are slices of one map, in its own precision.
    x = torch.randn(2, 64, 8, 12).half().to(memory_format=torch.channels_last)
    places = (3 * torch.randn(2, 27, 8, 12)).half().to(memory_format=torch.channels_last)
    compare(x, places[:, :18], places[:, 18:], 3, 2**-11)
    # A band of rows, as when the network saves memory: the same columns as those rows have in the whole map.
    x, offset, modulation = torch.randn(2, 8, 9, 7), 3 * torch.randn(2, 18, 9, 7), torch.rand(2, 9, 9, 7)
    whole = torch.cat(list(deform_triton.deformed_columns(x, offset, modulation, 3))).view(2, 9, 7, -1)
    band = torch.cat(list(deform_triton.deformed_columns(x, offset[:, :, 4:8], modulation[:, :, 4:8], 3, 4)))
    assert band.equal(whole[:, 4:8].flatten(0, 2))
    # Places that are none read zeros; their neighbours stay as they are.
    x, offset, modulation = torch.randn(1, 8, 24, 12), torch.randn(1, 18, 24, 12), torch.rand(1, 9, 24, 12)
    for n, wild in enumerate((float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 3e9)):
        offset[0, :, n::7, n::5] = wild
    columns = compare(x, offset, modulation, 3, 1e-5)
    assert columns.view(24, 12, -1)[0, 0].abs().max() == 0
    # Pixels that no sample touches may hold anything.
    x[0, :, 16:] = float("nan")
    offset = torch.zeros_like(offset)
    columns = torch.cat(list(deform_triton.deformed_columns(x, offset, modulation, 3))).view(24, 12, -1)
    assert columns[:14].isfinite().all() and columns[16:].isnan().any()
    assert deform.kernel_agrees(torch.device("cpu"), torch.float16, 64)
assert sum(many) > 3
print("done")
"""

COMPILED = """
import itertools, re
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from birefnet.network.deform.kernel import gather_columns

names = gather_columns.arg_names
for capability, (dtype, block, loads) in itertools.product(
        (75, 80, 90), (("fp16", 64, 16), ("bf16", 64, 16), ("fp32", 32, 16))):
    constants = dict(CHANNELS=64, PADDED=64, BLOCK=block, modulation_column=1, offset_column=1)
    pointers = dict(rows="*" + dtype, columns="*" + dtype, offset="*fp32", modulation="*fp32")
    signature = {name: pointers.get(name, "constexpr" if name in constants else "i32") for name in names}
    constants = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(gather_columns, signature, constants,
                       {(names.index(name),): [["tt.divisibility", 16]] for name in pointers})
    target = GPUTarget("cuda", capability, 32)
    ptx = triton.compile(source, target=target, options={"num_warps": 4}).asm["ptx"]
    assert len(re.findall("ld[.]global[^ ;]*v4[.]b32", ptx)) == loads, (capability, dtype, ptx)
    assert all("v4" in store for store in re.findall("st[.]global[^ ;]*", ptx)), (capability, dtype, ptx)
print("done")
"""


def run(script: str, **environment: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment})
    assert done.returncode == 0 and done.stdout.strip().endswith("done"), done.stdout + done.stderr


@pytest.mark.slow
@needs_triton
def test_the_interpreted_kernel_equals_the_plain_form():
    run(INTERPRETED, TRITON_INTERPRET="1")


@pytest.mark.slow
@needs_triton
def test_it_compiles_for_real_gpus_with_16_byte_loads_and_stores(tmp_path):
    run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def fresh():
    """Forgets what the process has found out about the kernel, before and after."""
    caches = (deform.kernel_agrees, deform.warn_once)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_what_goes_wrong_is_one_log_line_and_the_plain_form(fresh, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")

    monkeypatch.setattr(deform_triton, "deformed_columns", broken)
    with torch.inference_mode():
        assert not any(deform.usable(torch.zeros(1, channels, 4, 4)) for channels in (6, 8, 6))
    assert len(warnings(caplog)) == 1 and "Failed to find C compiler." in warnings(caplog)[0]
    assert "the plain form is slower" in warnings(caplog)[0]


def test_a_kernel_that_gives_other_numbers_is_not_trusted(fresh, monkeypatch, caplog):
    def wrong(x, offset, modulation, side):
        yield torch.zeros(len(x) * x.shape[2] * x.shape[3], side**2 * x.shape[1], dtype=x.dtype)

    monkeypatch.setattr(deform_triton, "deformed_columns", wrong)
    with torch.inference_mode():
        assert not deform.usable(torch.zeros(1, 6, 4, 4))
    assert "disagrees with the plain form" in warnings(caplog)[0]


def test_it_stays_out_of_training_and_of_other_formats(monkeypatch):
    monkeypatch.setattr(deform, "kernel_agrees", lambda *_: True)
    assert not deform.usable(torch.zeros(1, 6, 4, 4))
    with torch.inference_mode():
        assert deform.usable(torch.zeros(1, 6, 4, 4))
        assert not deform.usable(torch.zeros(1, 6, 4, 4, dtype=torch.float64))
