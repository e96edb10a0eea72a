"""Several threads and one network: every mask is that of a thread that is alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import birefnet
from birefnet.network.backbones.swin.fused import FusedAttention

SIZES = (64, 96, 128, 160)


@pytest.mark.parametrize("file", ["tiny", "tiny_swin"])
def test_threads_may_matte_with_one_network(request, file):
    network = birefnet.load(request.getfixturevalue(file))
    photo = torch.rand(1, 50, 70, 3, generator=torch.Generator().manual_seed(0))
    expected = {size: birefnet.matte(network, photo, size) for size in SIZES}
    again = birefnet.load(request.getfixturevalue(file))  # its tables and caches are still to be made
    start = threading.Barrier(4)

    def work(number: int) -> bool:
        start.wait()
        return all(torch.equal(birefnet.matte(again, photo, size), expected[size])
                   for size in (*SIZES[number:], *SIZES[:number]) * 3)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_a_network_that_another_thread_puts_in_place_meanwhile_gives_the_same_mask(tiny_swin):
    network = birefnet.load(tiny_swin)
    photo = torch.rand(1, 50, 70, 3, generator=torch.Generator().manual_seed(0))
    expected, over = birefnet.matte(network, photo), threading.Event()

    def place() -> None:
        while not over.is_set():
            birefnet.place(network, "cpu", torch.float32)

    thread = threading.Thread(target=place)
    thread.start()
    try:
        assert all(torch.equal(birefnet.matte(network, photo), expected) for _ in range(20))
    finally:
        over.set()
        thread.join()


def test_a_position_bias_that_another_thread_has_emptied_is_still_used(tiny_swin, monkeypatch):
    """Moving a network empties this cache; a pass that was just filling it went on without any bias."""
    network = birefnet.load(tiny_swin)
    photo = torch.rand(1, 50, 70, 3, generator=torch.Generator().manual_seed(0))
    expected = birefnet.matte(network, photo)
    for module in network.modules():
        vars(module).pop("bias", None) if isinstance(module, FusedAttention) else None
    monkeypatch.setattr(FusedAttention, "bias", property(lambda self: None, lambda self, value: None),
                        raising=False)
    assert torch.equal(birefnet.matte(network, photo), expected)
