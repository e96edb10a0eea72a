"""Pictures that Blender renders, where it is installed (pip: bpy, for Python 3.11): 1 GB that only the cache needs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("bpy", reason="rendering needs Blender: pip install --no-deps bpy==4.5.15")

from tools.nano import birds, studio, things  # noqa: E402


def pattern(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (32, 32, 3), np.uint8)


def rendered(make, folder, seed: int) -> np.ndarray:
    panorama = studio.panoramas(folder)[0]
    return make(np.random.default_rng(seed), pattern, panorama, folder / "picture.png", height=64)


@pytest.mark.parametrize("make", [birds.bird, things.flower])
def test_a_whole_picture_has_its_subjects_alpha_and_is_the_same_for_the_same_seed(make, tmp_path):
    first, other = rendered(make, tmp_path, 1), rendered(make, tmp_path, 2)
    for picture in (first, other):
        assert picture.dtype == np.uint8 and picture.shape[0] == 64 and picture.shape[2] == 4
        solid = picture[..., 3] > 127
        assert 0.01 < solid.mean() < 0.7 and (picture[..., 3] == 0).mean() > 0.2
        assert picture[..., :3][~solid].std() > 1  # what is around is seen, too
    assert (rendered(make, tmp_path, 1) == first).all()
    assert first.shape != other.shape or (first != other).any()


def test_a_model_stands_on_the_floor_a_metre_long(tmp_path):
    corners = [(x, y, z) for y in (5, 7) for x, z in ((-3, -1), (1, -1), (1, 1), (-3, 1))]  # y is up
    faces = ["1 2 3 4", "5 6 7 8", "1 2 6 5", "2 3 7 6", "3 4 8 7", "4 1 5 8"]
    model = tmp_path / "box.obj"
    model.write_text("".join(f"v {x} {y} {z}\n" for x, y, z in corners) + "".join(f"f {face}\n" for face in faces))
    picture = things.thing(np.random.default_rng(0), pattern, studio.panoramas(tmp_path)[0],
                           tmp_path / "picture.png", model, height=64)
    assert 0.02 < (picture[..., 3] > 127).mean() < 0.7
    box = next(thing for thing in studio.bpy.context.scene.objects if thing.name.startswith("box"))
    studio.bpy.context.view_layer.update()
    seen = np.array([box.matrix_world @ studio.Vector(corner) for corner in box.bound_box])
    assert np.allclose(seen.min(0), [-0.5, -0.25, 0], atol=1e-5) and np.allclose(seen.max(0), [0.5, 0.25, 0.5], atol=1e-5)


def test_a_cut_out_has_nothing_around_it(tmp_path):
    studio.clear()
    square = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], float)
    studio.surface(square, np.array([[0, 1, 2, 3]]), studio.plain((200, 30, 30)))
    rng, middle = np.random.default_rng(0), studio.Vector((0, 0, 0))
    studio.camera(rng, middle, studio.Vector((0, -1, 0)), 4, 50, blur=False)
    studio.light(rng, studio.panoramas(tmp_path)[0], "SUN", middle)
    studio.develop(rng, 64, 64)
    picture = studio.cut_out(tmp_path / "picture.png")
    assert (picture[20:44, 20:44, 3] == 255).all() and not picture[:14, :, 3].any() and not picture[:, 50:, 3].any()
    assert (picture[20:44, 20:44, 0] > picture[20:44, 20:44, 1]).all()
