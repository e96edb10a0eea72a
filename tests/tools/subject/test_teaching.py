"""The selector's lessons: composed pictures whose subjects are known, simulated prompts, and a run that
learns and resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import birefnet
import weights
from birefnet.checkpoint.selector import load_selector
from birefnet.network.selector import SIDE
from tools.subject import train
from tools.subject.lessons import Lessons, make_lessons, read_lessons
from tools.subject.prompts import draw_box, draw_click, draw_scribble, iou, true_box
from tools.subject.scenes import DATA, KNOWN, Cutout, Sources, apart, compose, cut

HALF = SIDE // 2


@pytest.fixture(scope="module")
def sources() -> Sources:
    """The cut-outs of tests/data over noise."""
    cutouts = [Cutout(name, name, cut(DATA / f"{name}.jpg", DATA / f"{name}_mask.png")) for name in KNOWN]
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    whole = np.dstack([noise, np.zeros((300, 400), np.uint8)])
    whole[100:200, 100:250, 3] = 255
    return Sources(cutouts, [noise], [whole])


def squares(count: int) -> Lessons:
    """Lessons of two squares side by side, red and green, on grey; the matte shows both."""
    pictures = np.full((count, SIDE, SIDE, 3), 128, np.uint8)
    subjects = np.zeros((count, 3, HALF, HALF), np.uint8)
    for i in range(count):
        top, left = 20 + 2 * i, 16 + 3 * i
        for n, colour in enumerate(((220, 30, 30), (30, 200, 30))):
            at = (slice(top, top + 40), slice(left + 42 * n, left + 42 * n + 40))
            subjects[(i, n, *at)] = 255
            pictures[i, 2 * top:2 * top + 80, 2 * at[1].start:2 * at[1].stop] = colour
    return Lessons(pictures, subjects.max(1), subjects)


@pytest.mark.parametrize("overlapping", [False, True])
def test_subjects_overlap_or_stay_apart_as_asked(sources, overlapping):
    for seed in range(4):
        scene = compose(sources, np.random.default_rng(seed), (320, 400), float(overlapping))
        assert scene.overlapping == overlapping
        assert 2 <= len(scene.alphas) <= 3 and all(alpha.max() > 0.9 for alpha in scene.alphas)
        assert np.sum(scene.alphas, 0).max() < 1.001  # what is hidden belongs to nobody
        assert overlapping or apart(scene.alphas)
        again = compose(sources, np.random.default_rng(seed), (320, 400), float(overlapping))
        assert np.array_equal(scene.image, again.image)


def test_one_part_of_a_subject_gets_other_colours():
    lessons = squares(1)
    picture = torch.from_numpy(lessons.pictures).movedim(3, 1).float() / 255
    subject = lessons.subjects[0, 0].astype(np.float32) / 255
    large = torch.from_numpy(np.kron(subject, np.ones((2, 2)))) > 0
    away = ~torch.nn.functional.max_pool2d(large[None].float(), 9, 1, 4)[0].bool()
    shares = []
    for seed in range(10):
        made = train.recolour_part(picture, subject, np.random.default_rng(seed))
        changed = (made - picture).abs().amax(1)[0] > 0.02
        shares.append(float(changed[large].float().mean()))
        assert not changed[away].any() and 0 <= made.min() and made.max() <= 1
    assert sum(0.1 < share < 0.9 for share in shares) >= 6, "the line mostly divides the subject"
    nothing = np.zeros_like(subject)
    assert torch.equal(train.recolour_part(picture, nothing, np.random.default_rng(0)), picture)


def test_prompts_lie_on_their_subject(sources):
    rng = np.random.default_rng(1)
    alpha = compose(sources, rng, (320, 400)).alphas[0]
    for _ in range(20):
        x, y = draw_click(alpha, rng)
        assert alpha[y, x] > 0.9
        assert alpha[draw_scribble(alpha, rng) > 0].min() > 0.5
        box, exact = draw_box(alpha, rng), true_box(alpha)
        drawn, true = np.zeros_like(alpha), np.zeros_like(alpha)
        drawn[box.top:box.bottom, box.left:box.right] = 1
        true[exact.top:exact.bottom, exact.left:exact.right] = 1
        assert iou(drawn, true) > 0.85


def test_every_kind_of_prompt_says_which_matte_it_means():
    lessons, seen = squares(2), set()
    for seed in range(80):
        maps, target = train.draw_prompt(lessons.subjects[seed % 2] / np.float32(255),
                                         lessons.mattes[seed % 2] / np.float32(255),
                                         np.random.default_rng(seed))
        assert maps.shape == (5, HALF, HALF) and target.shape == (1, HALF, HALF)
        own, other = (lessons.subjects[seed % 2, n] > 127 for n in (0, 1))
        meant = target[0] > 0.5
        assert any(np.array_equal(meant, part) for part in (own, other, own | other, np.zeros_like(own)))
        if maps[0].any() and meant.any():
            assert (maps[0].astype(bool) & meant).any()
        seen.add((bool(maps[0].any()), bool(maps[1].any()), bool(maps[2].any()), bool(maps[3].any()),
                  int(meant.sum()) // 1600))
    assert len(seen) >= 8


def test_lessons_are_written_once_and_read(sources, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.subject.lessons.PART", 10)
    network = birefnet.load(weights.NANO)
    make_lessons(tmp_path, sources, network, 3, 20)
    files = sorted(tmp_path.glob("????.npz"))
    times = [file.stat().st_mtime_ns for file in files]
    make_lessons(tmp_path, sources, network, 3, 20)
    assert len(files) == 2 and [file.stat().st_mtime_ns for file in files] == times
    lessons = read_lessons(tmp_path)
    assert lessons.pictures.shape == (20, SIDE, SIDE, 3) and lessons.mattes.shape == (20, HALF, HALF)
    assert lessons.subjects.shape == (20, 3, HALF, HALF) and (lessons.subjects.max((1, 2, 3)) > 127).all()


def test_a_run_learns_and_a_stopped_one_ends_with_the_same_numbers(tmp_path, monkeypatch):
    for name, value in (("SAVE_EVERY_STEPS", 3), ("WARM_UP", 1), ("PICTURES", 1)):
        monkeypatch.setattr(train, name, value)
    lessons = squares(4)

    def loss(selector) -> float:
        with torch.no_grad():
            return float(np.mean([train.measure_loss(selector, *batch).item()
                                  for batch in train.Batches(selector, lessons, 9, 0, 6)]))

    torch.manual_seed(0)
    fresh = train.make_selector(birefnet.load(weights.NANO, form="plain"))
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    whole = train.train(one, lessons, 12, 5, workers=0)
    assert loss(whole) < 0.8 * loss(fresh)
    assert load_selector(one / "birefnet-selector.safetensors")
    for name, parameter in whole.named_parameters():
        if train.in_encoder(name):
            stays = not fresh.get_parameter(name).requires_grad
            assert torch.equal(parameter, fresh.get_parameter(name)) == stays, name
            assert stays or not name.startswith(train.EARLY)

    class Stop(Exception):
        pass

    measure, calls = train.measure_loss, []

    def stop(*args):
        calls.append(1)
        if len(calls) == 8:
            raise Stop
        return measure(*args)

    monkeypatch.setattr(train, "measure_loss", stop)
    with pytest.raises(Stop):
        train.train(two, lessons, 12, 5, workers=0)
    monkeypatch.setattr(train, "measure_loss", measure)
    resumed = train.train(two, lessons, 12, 5, workers=0)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for other in ({"steps": 9}, {"begin": weights.SELECTOR}):
        with pytest.raises(ValueError, match="^Take another folder, or the options of the run in "):
            train.train(two, lessons, **{"steps": 12, "seed": 5, "workers": 0} | other)


def test_a_run_begins_with_another_selector(tmp_path):
    begun = train.train(tmp_path, squares(2), 0, 1, workers=0, begin=weights.SELECTOR).state_dict()
    assert all(torch.equal(begun[name], tensor)
               for name, tensor in load_selector(weights.SELECTOR).state_dict().items())
