"""How the included checkpoint learns: its phases, its two rates, its encoder's colours, and that a run goes
on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import birefnet
from birefnet.network.config import IMAGENET_MEAN, IMAGENET_STD
from tools.nano import training
from tools.nano.cache import Pictures, pack
from tools.nano.teacher import TEACHER_SIDE, label, make_predict
from tools.nano.training import (
    FIRST,
    Phase,
    Stage,
    TwoRates,
    early_and_depthwise,
    export,
    freeze_statistics,
    load_imagenet,
    phase_at,
    rate_at,
)


@pytest.fixture
def model() -> birefnet.BiRefNet:
    config = birefnet.Config(
        family="pvt_v2", widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), multi_scale="none",
        kernels=(3,), inner=8, branch=8, patch_inner=4, gate=4, size=(64, 64))
    torch.manual_seed(0)
    return birefnet.BiRefNet(config).initialize()


def test_phases_follow_one_another_and_the_rate_falls():
    phases = (Phase(64, 2, 3), Phase(96, 1, 2))
    assert [phase_at(phases, step).side for step in range(6)] == [64, 64, 64, 96, 96, 96]
    rates = [rate_at(step, 300) for step in range(300)]
    assert max(rates) == rates[training.WARM_UP_STEPS] == 1
    assert rates[0] == pytest.approx(1 / training.WARM_UP_STEPS)
    assert rates[-1] == pytest.approx(training.LAST_RATE, rel=0.05)
    assert all(a >= b for a, b in zip(rates[training.WARM_UP_STEPS:], rates[training.WARM_UP_STEPS + 1:]))


def test_the_encoder_moves_less_than_the_decoder(model):
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimizer = TwoRates(model, FIRST)
    optimizer.begin(1.0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step(torch.amp.GradScaler(enabled=False), 1e9)
    moved = {name: (parameter.detach() - before[name]).abs().mean().item()
             for name, parameter in model.named_parameters()}
    encoder = [value for name, value in moved.items() if name.startswith("bb.") and name.endswith("weight")]
    decoder = [value for name, value in moved.items() if not name.startswith("bb.") and name.endswith("bias")]
    assert 0 < np.median(encoder) < 0.5 * np.median(decoder)


class Stem(nn.Module):
    """The first two layers of an EfficientNet-Lite, under timm's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn1(self.conv_stem(x))


def test_the_stem_sees_the_packages_colours_in_images_normalised_as_ours():
    torch.manual_seed(0)
    theirs, ours = Stem().eval(), Stem().eval()
    nn.init.uniform_(theirs.bn1.running_mean)
    nn.init.uniform_(theirs.bn1.running_var, 0.5, 2)
    tensors = {f"a.{name}": tensor for name, tensor in theirs.state_dict().items()}
    tensors["fc.weight"] = torch.zeros(2, 4)
    load_imagenet(ours, tensors)
    image = torch.rand(1, 3, 8, 8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(ours((image - mean) / std), theirs((image * 255 - 127) / 128), atol=1e-5,
                               rtol=1e-5)


def test_an_encoder_of_other_shapes_is_refused():
    tensors = Stem().state_dict()
    tensors["conv_stem.weight"] = torch.zeros(5, 3, 3, 3)
    with pytest.raises(ValueError, match="do not fit"):
        load_imagenet(Stem(), tensors)


def test_statistics_of_the_encoder_stay(model):
    model.bb.append_norm = nn.BatchNorm2d(3)
    freeze_statistics(model.train())
    model.bb.append_norm(torch.randn(2, 3, 4, 4))
    assert model.bb.append_norm.running_mean.eq(0).all() and model.decoder.training


def test_the_stored_encoder_is_exact_in_bfloat16(model, tmp_path):
    export(model, tmp_path / "nano.safetensors")
    stored = birefnet.load(tmp_path / "nano.safetensors", form="plain")
    assert all(torch.equal(value, value.bfloat16().float()) for value in stored.bb.parameters())
    assert stored.metadata["birefnet.name"] == "birefnet-nano"
    assert stored.metadata["birefnet.license"] == "Apache-2.0"


def test_a_stopped_run_goes_on_to_the_same_numbers(model, cache, tmp_path, monkeypatch):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def fresh(seed: int) -> birefnet.BiRefNet:
        model.load_state_dict(state)
        return training.disable_dropout(model)

    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    monkeypatch.setattr(training, "build_network", fresh)
    monkeypatch.setattr(training, "SAVE_EVERY_STEPS", 2)
    stage = Stage((Phase(64, 2, 3), Phase(96, 1, 1)), 1e-3, 2e-4, 0.9)
    first = training.train(tmp_path / "a", cache, stage, workers=0)
    straight = birefnet.load(first).state_dict()
    with monkeypatch.context() as patched:
        patched.setattr(training, "export", stop)  # at the first saving, after two steps
        with pytest.raises(Stopped):
            training.train(tmp_path / "b", cache, stage, workers=0)
    resumed = birefnet.load(training.train(tmp_path / "b", cache, stage, workers=0)).state_dict()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)

    pack(tmp_path / "labelled", label(Pictures(cache), bright, make_predict(birefnet.load(first)), 0))
    second = Stage((Phase(64, 2, 2),), 1e-3, 2e-4, 0.9, labelled=0.5, all_layers=False)
    ended = training.train(tmp_path / "c", cache, second, begin=first, labelled=tmp_path / "labelled",
                           workers=0)
    moved = [name for name, tensor in birefnet.load(ended).state_dict().items()
             if not torch.equal(tensor, straight[name])]
    assert any(name.startswith("decoder") for name in moved)
    assert any(name.startswith("bb") for name in moved)


def bright(crop) -> np.ndarray:
    """A teacher to whom whatever is light is the subject."""
    return (np.asarray(crop.convert("L").resize((TEACHER_SIDE,) * 2)) > 55).astype(np.float32)


def test_crops_are_labelled_by_the_mean_of_teacher_and_network(cache):
    pictures = Pictures(cache)
    rows = list(label(pictures, bright, lambda crop: np.zeros((TEACHER_SIDE,) * 2, np.float32), 0))
    assert len(rows) == 2 * 8 + 2 * 6  # places and panoramas; the cache holds nothing unmarked
    assert {kind for kind, _, _ in rows} == {"labelled"}
    values = np.stack([pixels[..., 3] for _, _, pixels in rows])
    assert values.min() == 0 and values.max() == round(255 * (0.6 - 0.2) / 0.6)
    again = list(label(pictures, bright, lambda crop: np.zeros((TEACHER_SIDE,) * 2, np.float32), 0))
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(rows, again))


def test_early_and_depthwise_layers_are_told_from_the_others():
    encoder = nn.ModuleDict({"conv_stem": nn.Conv2d(3, 4, 3), "late": nn.Conv2d(4, 4, 1),
                             "depthwise": nn.Conv2d(4, 4, 3, groups=4)})
    fixed = set(map(id, early_and_depthwise(encoder)))
    assert {name for name, parameter in encoder.named_parameters() if id(parameter) in fixed} == {
        "conv_stem.weight", "conv_stem.bias", "depthwise.weight", "depthwise.bias"}
