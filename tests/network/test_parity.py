"""The network gives the authors' numbers, loaded from nothing but tensors."""

import pytest
import torch
from golden_cases import CASES, Case

import birefnet
from birefnet.network.backbones import FAMILIES
from birefnet.network.birefnet import image_patches

TOLERANCE = 5e-6
QUICK = ("swin_v1_t_1x256x256_s0", "swin_v1_t_1x256x256_s3_nocat", "pvt_v2_b0_1x256x320_s0",
         "pvt_v2_b0_1x288x352_s11", "dino_v3_s_1x256x320_s0")
HALVES = [case for case in CASES if case.name in ("swin_v1_t_1x256x256_s0", "pvt_v2_b0_1x256x320_s0")]


@pytest.fixture(scope="module")
def weights(request) -> tuple[Case, dict[str, torch.Tensor]]:
    """A case and its state dict, made once for the tests that follow each other; not to be changed."""
    return request.param, request.param.state_dict()


def test_every_encoder_family_has_reference_logits():
    """But for those whose encoders are timm's, with which test_encoders.py compares them."""
    found = set()
    for case in CASES:
        shapes = {name: tuple(shape) for name, shape in case.manifest.items()}
        found.add(next(family.name for family in FAMILIES.values() if family.recognises(shapes, "")))
    assert sorted(found | {"efficientnet_lite", "timm"}) == sorted(FAMILIES)


@pytest.mark.parametrize("form", ["plain", "inference"])
@pytest.mark.parametrize("weights", [
    pytest.param(case, id=case.name, marks=[] if case.name in QUICK else [pytest.mark.slow])
    for case in CASES], indirect=True)
def test_logits_and_features_equal_the_reference(weights, form, monkeypatch):
    case, state = weights
    model = birefnet.load(state, form=form, **case.overrides)
    reference, image, seen = case.reference(), case.image(), []
    watch = model.bb.register_forward_hook(
        lambda *call: seen.append([x.clone() for x in call[-1]]))  # what follows may reuse their memory
    with torch.inference_mode():
        logits = model(image)
        watch.remove()
        maps = iter(seen)  # of the image and of its half, which the backbone need not compute again
        monkeypatch.setattr(model.bb, "forward", lambda *_: next(maps))
        features = model.backbone_features(image)
        features[3] = torch.cat([torch.nn.functional.interpolate(x, features[3].shape[2:], mode="bilinear",
                                                                 align_corners=True) for x in features[:3]]
                                + [features[3]], 1)
    assert (logits - reference["logits"]).abs().max() < TOLERANCE
    for i, x in enumerate(features, 1):
        stats = torch.stack([x.mean(), x.std(), x.abs().max(), x.flatten()[0], x.flatten()[-1]])
        assert torch.allclose(stats, reference[f"x{i}_stats"], atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def usual(tiny_state) -> tuple[torch.Tensor, torch.Tensor]:
    """An image, and its alpha in float32."""
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return x, birefnet.load(tiny_state)(x).sigmoid()


@pytest.mark.parametrize("form", ["plain", "inference"])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_every_storage_runs_in_every_dtype(tiny_state, usual, stored, dtype, form):
    state = {name: tensor.to(stored) for name, tensor in tiny_state.items()}
    model = birefnet.load(state, dtype=dtype, form=form)
    x, expected = usual
    with torch.inference_mode():
        alpha = model(x.to(dtype)).float().sigmoid()
    assert alpha.isfinite().all()
    assert (alpha - expected).abs().mean() < (0.02 if torch.bfloat16 in (stored, dtype) else 0.002)


@pytest.mark.parametrize("stored", [
    pytest.param(torch.float16, marks=pytest.mark.slow), torch.bfloat16,
    pytest.param(torch.float32, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("weights", HALVES, ids=lambda case: case.name, indirect=True)
def test_reference_cases_stay_right_in_bfloat16(weights, stored):
    case, state = weights
    state = {name: tensor.to(stored) for name, tensor in state.items()}
    model = birefnet.load(state, dtype=torch.bfloat16)
    with torch.inference_mode():
        alpha = model(case.image().bfloat16()).float().sigmoid()
    assert (alpha - case.reference()["logits"].sigmoid()).abs().mean() < 5e-3


def test_reference_case_stays_right_in_float16():
    case = HALVES[0]
    model = birefnet.load(case.state_dict(), dtype=torch.float16)
    with torch.inference_mode():
        alpha = model(case.image().half()).float().sigmoid()
    assert (alpha - case.reference()["logits"].sigmoid()).abs().mean() < 1e-3


def test_image_patches_are_contiguous_tiles_with_the_colour_slowest():
    image = torch.arange(3 * 4 * 6).view(1, 3, 4, 6)
    patches = image_patches(image, (2, 3))
    for colour in range(3):
        for gy in range(2):
            for gx in range(2):
                tile = image[0, colour, 2 * gy:2 * gy + 2, 3 * gx:3 * gx + 3]
                assert patches[0, (colour * 2 + gy) * 2 + gx].equal(tile)
    fastest = image_patches(image, (2, 3), "colour-fastest")
    assert fastest[0, (1 * 2 + 0) * 3 + 2].equal(image[0, 2, 0:2, 3:6])  # (gx, gy, c) = (1, 0, 2)


def test_the_older_patch_order_is_a_permutation_of_the_patch_weights(tiny_state):
    """Checkpoints trained by code older than November 2024: same tensors, other order of `ipt_blk*.conv1`'s
    inputs."""
    older = dict(tiny_state)
    for name, tensor in tiny_state.items():
        if "ipt_blk" in name and name.endswith("conv1.weight"):
            side = round((tensor.shape[1] // 3) ** 0.5)
            order = torch.arange(tensor.shape[1]).view(3, side, side).permute(2, 1, 0).flatten()
            older[name] = tensor[:, order]
    x = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = birefnet.load(tiny_state)(x)
        logits = birefnet.load(older, patch_order="colour-fastest")(x)
        mistaken = birefnet.load(older)(x)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert (mistaken - expected).abs().max() > 1e-2


@pytest.mark.parametrize("shape", [(1, 3, 64, 70), (1, 4, 64, 64), (3, 64, 64), (1, 3, 32, 64)])
def test_a_wrong_input_shape_is_a_clear_error(tiny_state, shape):
    with pytest.raises(ValueError, match="multiples of 32"):
        birefnet.load(tiny_state)(torch.zeros(shape))
