"""The inference form in pieces: any budget, batch and size gives the same logits, and memory follows the
budget."""

import pytest
import torch
from tiny_build import TINY, random_state
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import birefnet
from birefnet import Config
from birefnet.network.blocks import resize
from birefnet.network.ops.bands import resize_rows, resize_twice

SWIN = Config(family="swin_v1", widths=(16, 32, 64, 128), depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), window=5,
              inner=16, branch=16, patch_inner=8, gate=4)
BUILDS = [SWIN, TINY, *(Config(**{**SWIN.__dict__, **change}) for change in (
    {"multi_scale": "add", "residual": True}, {"multi_scale": "none", "attention": "plain", "kernels": ()},
    {"attention": "none"}))]


CASES = [(config, shape) for shape in ((1, 3, 64, 64), (2, 3, 224, 96), (3, 3, 96, 160)) for config in BUILDS]
QUICK = [case for case in CASES if case[0] is TINY or case[1][2] == 64 or case == (SWIN, (2, 3, 224, 96))]


@pytest.mark.parametrize("config, shape", [
    pytest.param(config, shape, id=f"{config.describe()}, {shape}",
                 marks=[] if (config, shape) in QUICK else [pytest.mark.slow]) for config, shape in CASES])
def test_pieces_of_every_size_give_the_plain_forms_logits(config, shape):
    """Maps of odd numbers of windows, padded ones and ones smaller than a window; bands of as few rows as
    there are."""
    state = random_state(config)
    plain, inference = (birefnet.load(state, form=form, multi_scale=config.multi_scale)
                        for form in ("plain", "inference"))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = plain(x)
        for budget in (None, 1 << 30, 100_000, 0):
            inference.budget_bytes = budget
            assert torch.allclose(inference(x), expected, atol=2e-5), budget


@pytest.mark.parametrize("start, stop", [(0, 1), (0, 24), (7, 15), (23, 24)])
def test_rows_of_a_resized_map(start, stop):
    x = torch.randn(2, 5, 12, 10).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(resize_rows(x, (24, 20), start, stop), resize(x, (24, 20))[:, :, start:stop],
                          atol=1e-5)


def test_resizing_twice_at_once():
    x = torch.randn(2, 5, 12, 10).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(resize_twice(x, (24, 20), (6, 5)), resize(resize(x, (24, 20)), (6, 5)), atol=1e-5)


class Live(TorchDispatchMode):
    """Counts the bytes alive on the meta device after every operation: memory of a pass that is not
    computed."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.total = self.peak = 0  # total: of `alive`, in which some may have died since

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                storage = tensor.untyped_storage()
                ref = StorageWeakRef(storage)
                self.total += storage.nbytes() - self.alive.get(ref.cdata, (None, 0))[1]
                self.alive[ref.cdata] = (ref, storage.nbytes())
        if self.total > self.peak:
            self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
            self.total = sum(size for _, size in self.alive.values())
            self.peak = max(self.peak, self.total)
        return out


def peak(model: birefnet.BiRefNet, size: int, budget: int) -> int:
    model.budget_bytes = budget
    with torch.no_grad(), Live() as live:
        model(torch.empty(1, 3, size, size, device="meta"))
    return live.peak


@pytest.mark.slow
def test_temporaries_follow_the_budget_and_not_the_picture():
    """swin_v1_t at 2048²: beside the maps that have to be alive, what a pass takes is the budget's."""
    with torch.device("meta"):
        plain = birefnet.BiRefNet(Config(family="swin_v1", widths=(96, 192, 384, 768), depths=(2, 2, 6, 2),
                                         heads=(3, 6, 12, 24)))
    model = birefnet.network.fused.fuse(plain.eval())
    position = 4 * (2048 // 4)**2  # bytes of a channel at stride 4
    alive = position * (2.6 * 96 + 3 * 64 + 2 * 48)
    narrow, wide = peak(model, 2048, 32 << 20), peak(model, 2048, 1 << 40)
    assert narrow < alive + (96 << 20)
    assert wide > narrow + position * 96
