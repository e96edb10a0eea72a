"""Copies that overlap, as far as no device is needed. (With CUDA: test_cuda.py.)"""

import pytest
import torch

from birefnet.device import transfer
from birefnet.device.transfer import BUFFER_BYTES, as_bytes, make_transfer, parts


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_only_cuda_devices_have_one(device):
    assert make_transfer(torch.device(device)) is None


def test_without_page_locked_memory_copies_are_ordinary_ones(monkeypatch, caplog):
    def refused(device):
        raise RuntimeError("CUDA error: OS call failed or operation not supported on this OS")

    monkeypatch.setattr(transfer, "Transfer", refused)
    assert make_transfer(torch.device("cuda", 0)) is None
    assert len(caplog.messages) == 1 and "do not overlap" in caplog.messages[0]


@pytest.mark.parametrize("total", [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 5 * BUFFER_BYTES])
def test_parts_cover_everything_once_and_fit_a_buffer(total):
    pieces = parts(total)
    assert sum(piece.stop - piece.start for piece in pieces) == total
    assert all(0 < piece.stop - piece.start <= BUFFER_BYTES for piece in pieces)
    assert all(before.stop == after.start for before, after in zip(pieces, pieces[1:]))


def test_bytes_are_the_tensors_own():
    x = torch.zeros(2, 3)
    as_bytes(x)[0:4] = as_bytes(torch.tensor([1.5]))
    assert x[0, 0] == 1.5 and len(as_bytes(torch.zeros(0, 3))) == 0
