"""Composites: repeatable, the right way round, and as varied as promised."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tools.nano.cache import Pictures, pack
from tools.nano.composite import (
    PORTRAIT_SHARE,
    crop,
    harmonise,
    is_hidden,
    limit_chroma,
    make_pair,
    make_scene,
    noise,
    place,
)


@pytest.fixture(scope="module")
def pictures(cache):
    return Pictures(cache)


def test_a_pair_depends_on_seed_and_index_only(pictures, cache):
    image, alpha = make_pair(pictures, 7, 3, 64)
    again = make_pair(Pictures(cache), 7, 3, 64)
    assert image.shape == (64, 64, 3) and alpha.shape == (64, 64) and image.dtype == alpha.dtype == np.uint8
    assert (image == again[0]).all() and (alpha == again[1]).all()
    assert any((make_pair(pictures, 7, i, 64)[0] != image).any() for i in (4, 5))
    assert (make_pair(pictures, 8, 3, 64)[0] != image).any()


def test_alpha_is_white_on_the_subject(pictures):
    """Subjects in this cache are lighter than its backgrounds, and most composites keep that."""
    lighter = []
    for index in range(60):
        image, alpha = make_pair(pictures, 0, index, 64)
        if 0.02 < (alpha > 127).mean() < 0.9:
            lighter.append(image[alpha > 200].mean() > image[alpha < 50].mean())
    assert len(lighter) > 30 and np.mean(lighter) > 0.6


def test_some_pictures_have_no_subject_and_few_are_all_subject(pictures):
    coverage = np.array([(make_pair(pictures, 1, index, 64)[1] > 127).mean() for index in range(150)])
    assert 0.02 < (coverage == 0).mean() < 0.2
    assert (coverage > 0.95).mean() < 0.1
    assert ((coverage > 0.05) & (coverage < 0.8)).mean() > 0.4


def test_whole_photographs_are_portraits_in_their_share(pictures, monkeypatch):
    drawn, draw, rng = [], pictures.draw, np.random.default_rng(0)
    monkeypatch.setattr(pictures, "draw", lambda rng, *kinds: drawn.append(kinds) or draw(rng, *kinds))
    for _ in range(300):
        make_scene(pictures, rng, 16)
    whole = [kinds[0] for kinds in drawn if kinds[0] in ("scene", "portrait")]
    assert len(whole) == 300 and abs(whole.count("portrait") / 300 - PORTRAIT_SHARE) < 0.06


def test_strong_colours_become_quiet_and_quiet_ones_stay():
    strong = np.random.default_rng(0).random((128, 128, 3), np.float32)
    muted = limit_chroma(strong, 0.1)
    assert np.ptp(muted, 2).mean() == pytest.approx(0.1, rel=0.05)  # the mean is estimated
    np.testing.assert_allclose(muted.mean(2), strong.mean(2), atol=1e-6)
    assert np.array_equal(limit_chroma(muted, 0.2), muted)


@pytest.mark.parametrize("difference, expected", [(0.0, True), (0.05, True), (0.2, False)])
def test_what_nobody_could_see_counts_as_hidden(difference, expected):
    """Grain on both, which makes single pixels differ, changes nothing."""
    rng = np.random.default_rng(0)
    back, grain = 0.5 + 0.2 * (rng.random((2, 64, 64, 3), np.float32) - 0.5)
    cover = np.zeros((64, 64), np.float32)
    cover[16:48, 16:48] = 1
    assert is_hidden(grain + np.float32(difference), cover, back) == expected


def test_a_subject_of_glass_has_colours():
    """Nowhere is it as much as half opaque."""
    rng = np.random.default_rng(0)
    colour, image = rng.random((2, 32, 32, 3), np.float32)
    cover = np.zeros((32, 32), np.float32)
    cover[8:24, 8:24] = 0.3
    assert all(np.isfinite(harmonise(rng, colour, cover, image)).all() for _ in range(20))
    assert not is_hidden(np.ones_like(colour), cover, np.zeros_like(image))


@pytest.mark.parametrize("framing", ["full", "close", "half"])
def test_placing_tells_what_lies_inside(framing):
    layer = Image.new("RGBA", (80, 120), (200, 0, 0, 255))
    rng, shares = np.random.default_rng(1), []
    for _ in range(60):
        placed, inside = place(rng, layer, framing, 64)
        alpha = np.asarray(placed)[..., 3]
        on_border = alpha[[0, -1]].any() or alpha[:, [0, -1]].any()
        assert placed.size == (64, 64) and 0 <= inside < 1.1 and (on_border or inside > 0.9)
        shares.append(inside)
    assert min(shares) < 0.7 < max(shares)


@pytest.mark.parametrize("stretch", [0.2, 1.0, 5.0])
def test_noise_fills_its_range(stretch):
    field = noise(np.random.default_rng(0), 48, 5, stretch, 0.7)
    assert field.shape == (48, 48) and field.min() == 0 and field.max() == 1


def test_crops_of_any_photograph_fill_the_square():
    for shape in ((30, 400, 3), (400, 30, 3), (33, 33, 3)):
        assert crop(np.random.default_rng(0), np.full(shape, 128, np.uint8), 32).shape == (32, 32, 3)


def test_a_cache_reads_back_what_was_packed(tmp_path):
    colours = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    pack(tmp_path, [("place", "a", colours), ("empty", "b", colours[:, ::-1])])
    pictures = Pictures(tmp_path)
    assert (pictures[0] == colours).all() and (pictures[1] == colours[:, ::-1]).all()
    assert pictures.draw(np.random.default_rng(0), "empty", "animal")[1] == "b"
    with pytest.raises(ValueError, match="no animal"):
        pictures.draw(np.random.default_rng(0), "animal")
