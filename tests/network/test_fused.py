"""The inference form is the same function, and says what it cannot do. (Parity on every golden case:
test_parity.)"""

import pytest
import torch
from tiny_build import TINY, random_state

import birefnet
from birefnet import Config
from birefnet.network.blocks import PatchBlock
from birefnet.network.fused.head import ImageHead

BUILDS = [TINY, *(Config(**{**TINY.__dict__, **change}) for change in (
    {"residual": True, "batch_norm": False}, {"attention": "plain", "kernels": ()}, {"attention": "none"},
    {"kernels": (3, 5, 3)}, {"multi_scale": "add"}))]


@pytest.mark.parametrize("config", BUILDS, ids=Config.describe)
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_both_forms_agree(config, size):
    state = random_state(config)
    plain, inference = (birefnet.load(state, form=form, multi_scale=config.multi_scale)
                        for form in ("plain", "inference"))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(inference(x), plain(x), atol=2e-5)


@pytest.mark.parametrize("size", [(2, 2), (2, 7), (5, 3), (9, 11), (41, 5)])
def test_the_image_head_is_exact_on_its_border(size):
    torch.manual_seed(0)
    config = Config(**{**TINY.__dict__, "patch_inner": 6})
    block, conv = PatchBlock(config, 3, 4), torch.nn.Conv2d(4, 1, 1)
    image = torch.randn(2, 3, *size)
    with torch.inference_mode():
        head = ImageHead(block, conv.weight, conv.bias)
        assert torch.allclose(head(image), conv(block(image)), atol=1e-5)
        assert torch.allclose(head(image, 1), head(image), atol=1e-6)  # by bands of rows


def test_it_holds_no_batch_norms_and_no_training_heads(tiny_state):
    model = birefnet.load(tiny_state)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert sum(p.numel() for p in model.parameters()) < sum(tensor.numel() for tensor in tiny_state.values())


def test_tables_of_windows_do_not_outlive_a_network_on_its_device():
    model = birefnet.load(random_state(Config(**{**TINY.__dict__, "family": "swin_v1",
                                                 "widths": (16, 32, 64, 128),
                                                 "depths": (1, 1, 1, 1), "heads": (1, 2, 4, 8),
                                                 "window": 4})))
    x = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        logits = model(x)
        stages = model.bb.layers
        assert all(stage.groups.cache_info().currsize for stage in stages)
        model.to("cpu")
        assert not any(stage.groups.cache_info().currsize for stage in stages)
        assert torch.equal(model(x), logits)


def test_training_and_saving_are_refused(tiny_state, tmp_path):
    model = birefnet.load(tiny_state)
    with pytest.raises(ValueError, match='^Load with form="plain": '):
        model.forward_train(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match='^Load with form="plain": .* cannot be saved'):
        birefnet.save(model, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="^Set form to"):
        birefnet.load(tiny_state, form="fast")
