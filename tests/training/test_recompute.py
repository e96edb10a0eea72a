"""Gradient checkpointing changes memory, and no number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import birefnet
from birefnet.training.learner import Learner
from birefnet.training.recompute import BLOCKS, recompute_blocks

SWIN = birefnet.Config(family="swin_v1", widths=(8, 16, 32, 64), depths=(2, 1, 1, 1), heads=(1, 2, 4, 8),
                       window=4,
                       kernels=(1, 3), inner=8, branch=8, patch_inner=4, gate=4, size=(64, 64))


@pytest.mark.parametrize("family", ["pvt_v2", "swin_v1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_come_to_the_same_weights_and_statistics(config, family, dtype):
    def learn(recompute: bool) -> tuple[Learner, list[float], list[int]]:
        torch.manual_seed(0)
        model = birefnet.BiRefNet(config if family == "pvt_v2" else SWIN).initialize().train()
        calls = [0]
        learner = Learner(model, 1e-3, dtype=dtype)
        if recompute:
            recompute_blocks(model)
        block = next(module for module in model.modules() if isinstance(module, BLOCKS))
        inner = next(iter(block.children()))
        inner.register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
        generator = torch.Generator().manual_seed(1)
        images = torch.rand(2, 3, 64, 64, generator=generator)
        losses = [learner.train_step(images, (images.mean(1, keepdim=True) > 0.5).float()) for _ in range(2)]
        return learner, losses, calls

    (plain, expected, once), (other, losses, twice) = learn(False), learn(True)
    assert losses == expected and twice[0] == 2 * once[0]
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


def test_less_is_remembered(config):
    """Bytes that the forward pass keeps for the backward pass."""
    def kept(recompute: bool) -> int:
        torch.manual_seed(0)
        model = birefnet.BiRefNet(replace(config, depths=(3, 3, 3, 3))).initialize().train()
        if recompute:
            recompute_blocks(model)
        held: dict[int, int] = {}
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = model.forward_train(torch.rand(1, 3, 128, 128))
        del outputs
        return sum(held.values())

    assert kept(True) < 0.5 * kept(False)
