"""What holds for every operator, and the order in which refine applies them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import torch

from birefnet import masks
from birefnet.cli.options import REFINE

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = sorted(name for name, parameter in inspect.signature(masks.refine).parameters.items()
                  if parameter.kind is parameter.KEYWORD_ONLY)
GUIDED = {"radius", "strength"}  # of guided_edges, whose picture the command line does not give to refine

OPERATORS = {
    "levels": lambda mask: masks.levels(mask, 0.1, 0.8),
    "grow": lambda mask: masks.grow(mask, 2.5),
    "shrink": lambda mask: masks.grow(mask, -2.5),
    "feather": lambda mask: masks.feather(mask, 3),
    "fill_holes": lambda mask: masks.fill_holes(mask, 6),
    "drop_specks": lambda mask: masks.drop_specks(mask, 6),
    "keep_largest": lambda mask: masks.keep_largest(mask, 1),
    "guided_edges": lambda mask: masks.guided_edges(mask, guide(mask), 4),
    "refine": lambda mask: masks.refine(
        mask, guide(mask), black=0.1, white=0.9, grow=-1, feather=2, fill=6, specks=6, largest=3, radius=4
    ),
}
each_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())


def guide(mask: torch.Tensor) -> torch.Tensor:
    height, width = mask.shape[1:]
    ramp = torch.linspace(0, 1, height * width * 3, device=mask.device)
    return (ramp * 37 % 1).reshape(1, height, width, 3).to(mask.dtype)


def soft_mask(frames: int, height: int, width: int) -> torch.Tensor:
    """Blobs, specks and holes with soft edges, reaching 0 and 1."""
    noise = torch.rand(frames, height, width, generator=torch.Generator().manual_seed(7))
    return masks.levels(masks.feather(noise, 4), 0.42, 0.58)


def test_the_command_line_has_every_setting():
    assert sorted(GUIDED.union(*REFINE.values())) == SETTINGS


def test_the_node_refine_mask_has_every_setting_as_an_input():
    tree = ast.parse((ROOT / "nodes" / "refine_mask.py").read_text(encoding="utf-8"))
    call, = (node for node in ast.walk(tree) if isinstance(node, ast.Call)
             and ast.unparse(node.func) == "masks.refine")
    execute, = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
                and node.name == "execute")
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert sorted(given) == SETTINGS
    assert set(given.values()) <= {argument.arg for argument in execute.args.args}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("image", [None, torch.rand(1, 40, 50, 3)])
def test_the_defaults_change_nothing(dtype, image):
    mask = soft_mask(2, 40, 50).to(dtype)
    mask[0, 0, 0] = float("nan")
    refined = masks.refine(mask, image)
    assert refined.dtype == dtype
    torch.testing.assert_close(refined, mask, atol=0, rtol=0, equal_nan=True)


@each_operator
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_agree_with_float32(operator, dtype):
    mask = soft_mask(2, 40, 50).to(torch.bfloat16)  # values that every dtype can hold
    result = operator(mask.to(dtype))
    assert result.dtype == dtype and result.shape == mask.shape
    expected = operator(mask.float())
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float64: 1e-3}[dtype]
    assert ((result.float() - expected).abs() > tolerance).float().mean() < 0.01


@each_operator
def test_the_range_is_kept_and_softness_survives(operator):
    result = operator(soft_mask(2, 120, 90))
    assert 0 <= result.min() and result.max() <= 1
    assert ((result > 0.05) & (result < 0.95)).float().mean() > 0.01


@each_operator
@pytest.mark.parametrize("shape", [(0, 20, 30), (1, 1, 1), (3, 1, 40), (2, 40, 1), (1, 2, 2)])
def test_every_shape_works(operator, shape):
    assert operator(torch.rand(shape)).shape == shape


@each_operator
def test_strides_do_not_matter_and_the_input_is_left_alone(operator):
    mask = soft_mask(2, 50, 40)
    strided = mask.mT.contiguous().mT
    before = mask.clone()
    assert torch.equal(operator(strided), operator(mask))
    assert torch.equal(mask, before) and torch.equal(strided, before)


@each_operator
def test_frames_do_not_touch_each_other(operator):
    mask = soft_mask(3, 50, 40)
    apart = torch.cat([operator(frame[None]) for frame in mask])
    torch.testing.assert_close(operator(mask), apart, atol=1e-6, rtol=0)


@each_operator
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees(operator):
    mask = soft_mask(2, 300, 260)
    result = operator(mask.cuda())
    assert result.is_cuda
    assert ((result.cpu() - operator(mask)).abs() > 1e-3).float().mean() < 1e-3


@pytest.mark.parametrize("mask",
                         [torch.ones(4, 4), torch.ones(1, 1, 4, 4), torch.ones(1, 4, 4, dtype=torch.uint8)])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ValueError, match=r"^Convert the mask to floats in 0..1, \[B,H,W\]: it is "):
        masks.refine(mask)


def test_a_mask_of_another_size_is_brought_to_the_image():
    mask = soft_mask(2, 40, 50)
    assert torch.equal(masks.refine(mask, torch.rand(2, 80, 70, 3)), masks.resize(mask, (80, 70)))


def test_the_order():
    mask = soft_mask(1, 90, 90)
    image = torch.rand(1, 180, 160, 3)
    step = masks.resize(mask, (180, 160))
    step = masks.levels(step, 0.2, 0.9)
    step = masks.keep_largest(step, 2)
    step = masks.drop_specks(step, 30)
    step = masks.fill_holes(step, 30)
    step = masks.guided_edges(step, image, 5, 0.7)
    step = masks.grow(step, -1.5)
    step = masks.feather(step, 3)
    refined = masks.refine(mask, image, black=0.2, white=0.9, largest=2, specks=30, fill=30, radius=5,
                           strength=0.7,
                           grow=-1.5, feather=3)
    assert torch.equal(refined, step)


def test_a_speck_in_a_hole_is_gone_before_the_hole_is_measured():
    mask = torch.zeros(1, 20, 20)
    mask[:, 2:18, 2:18] = 1
    mask[:, 6:12, 6:12] = 0  # 36 pixels
    mask[:, 8:10, 8:10] = 1  # 4 pixels
    assert masks.refine(mask, specks=5, fill=35)[:, 8, 8] == 0
    assert (masks.refine(mask, specks=5, fill=36)[:, 2:18, 2:18] == 1).all()


def test_an_image_without_a_radius_guides_nothing():
    mask = soft_mask(1, 30, 30)
    assert torch.equal(masks.refine(mask, torch.rand(1, 30, 30, 3), feather=2), masks.refine(mask, feather=2))
