"""Which number format is taken where nobody chose one."""

from __future__ import annotations

import platform

import pytest
import torch

import birefnet
from birefnet.device import dtypes

NEW = {"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}


@pytest.fixture
def processor(monkeypatch):
    """A function that makes this machine another: its architecture, PyTorch's queries, and what Linux
    says."""
    def become(machine: str, queries: dict[str, bool], flags: str = "") -> None:
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        monkeypatch.setattr(dtypes, "processor_flags", lambda: set(flags.split()))
        for name in NEW:
            monkeypatch.delattr(torch.cpu, name, raising=False)
            if name in queries:
                monkeypatch.setattr(torch.cpu, name, lambda answer=queries[name]: answer, raising=False)

    return become


@pytest.mark.parametrize("machine, queries, flags, native", [
    ("x86_64", NEW, "avx512f", False),
    ("x86_64", NEW | {"_is_avx512_bf16_supported": True}, "", True),
    ("AMD64", NEW | {"_is_amx_tile_supported": True}, "", True),
    ("x86_64", {}, "avx2 avx512f", False),  # PyTorch 2.4 cannot be asked
    ("x86_64", {}, "avx512f avx512_bf16", True),
])
def test_a_processor_needs_instructions_for_bfloat16(processor, machine, queries, flags, native):
    processor(machine, queries, flags)
    assert birefnet.best_dtype("cpu") == (torch.bfloat16 if native else torch.float32)


def test_without_the_library_that_uses_them_instructions_are_no_help(processor, monkeypatch):
    processor("x86_64", NEW | {"_is_avx512_bf16_supported": True})
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert birefnet.best_dtype("cpu") == torch.float32


@pytest.mark.skipif(not dtypes.processor_flags(), reason="only Linux on x86 lists the processor's flags")
def test_this_machine_is_told_right():
    native = {"avx512_bf16",
              "amx_bf16"} & dtypes.processor_flags() and torch.backends.mkldnn.is_available()
    assert dtypes.cpu_multiplies_bfloat16() == bool(native)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", torch.device("cuda")], ids=str)
def test_a_gpu_computes_in_float16(device):
    assert birefnet.best_dtype(device) == torch.float16


def test_short_names():
    assert [dtypes.name(kind) for kind in dtypes.DTYPES.values()] == ["fp32", "fp16", "bf16"]


@pytest.mark.parametrize("form", ["plain", "inference"])
def test_load_takes_the_best_for_auto(tiny_state, form):
    assert next(birefnet.load(tiny_state, dtype="auto",
                              form=form).parameters()).dtype == birefnet.best_dtype("cpu")
