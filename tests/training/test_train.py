"""A tiny training run learns, resumes to the same numbers, and leaves a checkpoint that loads and cuts."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import birefnet
from birefnet.training.nano.evaluate import Score, iou, measure, off_centre, subject_free
from birefnet.training.train import Plan, train

TINY = birefnet.Config(family="pvt_v2", widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2),
                       multi_scale="none", kernels=(3,), inner=8, branch=8, patch_inner=4, gate=4, size=(64, 64))
PLAN = Plan(steps=40, batch=8, warm_up=5, rate=3e-3, sizes=((1.0, 64),))


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    lines: list[str] = []
    loss = train(cache, out, PLAN, TINY, metadata={"birefnet.license": "CC0-1.0"}, workers=0, every=1000,
                 report=lines.append)
    return out, loss, lines


def test_the_loss_falls(trained):
    _, loss, lines = trained
    first = float(lines[0].split("loss ")[1].split()[0])  # mean of steps 1 to 20
    assert loss < 0.9 * first


def test_a_run_interrupted_half_way_ends_in_the_same_numbers(trained, cache, tmp_path):
    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("step 40/"):
            raise Stop

    with pytest.raises(Stop):  # after the state of step 30 was written
        train(cache, tmp_path, PLAN, TINY, workers=0, every=30, report=stop)
    train(cache, tmp_path, PLAN, TINY, workers=0, every=30, report=lambda line: None)
    straight, resumed = (load_file(folder / "birefnet.safetensors") for folder in (trained[0], tmp_path))
    assert straight.keys() == resumed.keys()
    for name in straight:
        assert torch.equal(straight[name], resumed[name]), name


def test_the_checkpoint_loads_by_itself(trained):
    path = trained[0] / "birefnet.safetensors"
    model = birefnet.load(path)
    assert model.config.size == (64, 64) and model.config.heads == TINY.heads and model.config.widths == TINY.widths
    alpha = birefnet.matte(model, torch.rand(1, 50, 70, 3))
    assert alpha.shape == (1, 50, 70) and 0 <= alpha.min() and alpha.max() <= 1
    assert not [p for p in trained[0].iterdir() if p.name not in ("state.pt", "birefnet.safetensors")]


@pytest.mark.parametrize("step, rate", [(0, 0.2e-3), (4, 1e-3), (5, 1e-3), (105, 0.01e-3)])
def test_the_rate_warms_up_and_falls_along_a_cosine(step, rate):
    assert Plan(steps=105, warm_up=5, rate=1e-3).rate_at(step) == pytest.approx(rate)


def test_sizes_grow_with_the_run():
    plan = Plan(steps=100, sizes=((0.5, 64), (0.8, 96), (1.0, 128)))
    assert [plan.size(step) for step in (0, 49, 50, 79, 80, 99)] == [64, 64, 96, 96, 128, 128]


def test_iou_of_known_masks():
    a, b = torch.zeros(4, 4), torch.zeros(4, 4)
    a[:2], b[1:3] = 1, 1
    assert iou(a, b) == pytest.approx(1 / 3) and iou(a, a) == 1 and iou(a * 0, b * 0) == 1


@pytest.mark.parametrize("corner", range(4))
def test_off_centre_pads_with_the_mirror_image_and_cuts_back(corner):
    image, seen = torch.rand(40, 60, 3), []

    def red(padded: torch.Tensor) -> torch.Tensor:
        seen.append(padded)
        return padded[..., 0]

    assert torch.equal(off_centre(red, image, corner), image[..., 0])
    assert seen[0].shape == (50, 75, 3)
    top, left = 10 * (corner & 1), 15 * (corner >> 1)
    assert torch.equal(seen[0][top:top + 40, left:left + 60], image)


def test_measure_reads_a_folder_of_pairs(trained, tmp_path):
    from PIL import Image

    (tmp_path / "set/im").mkdir(parents=True)
    (tmp_path / "set/gt").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (80, 60), (200, 30, 30)).save(tmp_path / f"set/im/{name}.jpg")
        Image.new("L", (80, 60), 255).save(tmp_path / f"set/gt/{name}.png")
    score = measure(birefnet.load(trained[0] / "birefnet.safetensors"), tmp_path / "set")
    assert isinstance(score, Score) and score.pictures == 2
    assert all(0 <= value <= 1 for value in score[:3])


def test_subject_free_pictures_are_pictures():
    for name, image in subject_free(48).items():
        assert image.shape == (48, 48, 3) and 0 <= image.min() and image.max() <= 1, name
