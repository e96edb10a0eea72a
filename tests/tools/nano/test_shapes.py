"""The shapes behind rendered people and birds; rendering itself needs Blender, a package for making the cache only."""

from __future__ import annotations

import numpy as np
import pytest

from tools.nano import shapes

UP = np.array([0.0, 0, 1])


def ball(rows: int = 12, sides: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A sphere of radius 1 without its poles: points and triangles."""
    x = np.linspace(-0.95, 0.95, rows)
    points, faces = shapes.tube(np.stack([x, 0 * x, 0 * x], 1), np.sqrt(1 - x**2)[:, None] * np.ones((1, 2)), UP, sides)
    return points, np.concatenate([faces[:, :3], faces[:, [0, 2, 3]]])


def test_a_tube_lies_around_its_path():
    path = np.stack([np.linspace(0, 2, 9), np.zeros(9), np.zeros(9)], 1)
    points, faces = shapes.tube(path, np.tile([0.3, 0.1], (9, 1)), UP, 20)
    ring = points.reshape(9, 20, 3)
    assert np.allclose(ring[..., 0], path[:, :1])
    assert np.allclose((ring[..., 1] / 0.3) ** 2 + (ring[..., 2] / 0.1) ** 2, 1)
    assert faces.shape == (8 * 20, 4) and set(faces.ravel()) == set(range(180))


def test_a_grid_is_joined_at_its_sides_only_when_closed():
    assert shapes.quads(2, 3).tolist() == [[0, 1, 4, 3], [1, 2, 5, 4]]
    assert shapes.quads(2, 3, closed=True).tolist() == [[0, 1, 4, 3], [1, 2, 5, 4], [2, 0, 3, 5]]


def test_a_curve_passes_through_its_knots():
    knots = np.array([[0, 0, 0], [1, 2, 0], [3, 1, 1], [4, 0, 0.0]])
    curve = shapes.through(knots, 31)
    assert np.allclose(curve[::10], knots, atol=1e-6)
    assert np.allclose(shapes.through(np.outer(np.arange(4), [1.0, 2, 3]), 13), np.outer(np.linspace(0, 3, 13), [1, 2, 3]))


def test_normals_of_a_ball_point_away_from_its_middle():
    points, faces = ball()
    inner = np.abs(points[:, 0]) < 0.9
    along = (shapes.normals(points, faces) * points).sum(1)[inner]
    assert (np.abs(along) > 0.98).all() and len(set(np.sign(along))) == 1


def test_evening_out_takes_bumps_away_and_leaves_loose_points_alone():
    line = np.stack([np.arange(7.0), np.array([0, 0, 0, 1, 0, 0, 0.0]), np.zeros(7)], 1)
    pairs = np.stack([np.arange(5), np.arange(1, 6)], 1)
    smooth = shapes.evened(line, np.concatenate([pairs, pairs[:, ::-1]]), 4, 0.5)
    assert smooth[3, 1] < 0.4 and smooth[2, 1] > 0.1
    assert (smooth[6] == line[6]).all()


@pytest.mark.parametrize("fall", [0.0, 1.0])
def test_hair_grows_from_its_roots_by_its_length_and_never_into_the_head(fall):
    rng = np.random.default_rng(0)
    out = rng.normal(0, 1, (400, 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    lengths = np.full((400, 1), 0.3)
    paths = shapes.grown(rng, out * 0.1, out, np.zeros(3), np.full(3, 0.098), lengths, 12, fall, 0.0)
    assert paths.shape == (400, 12, 3) and (paths[:, 0] == out * 0.1).all()
    assert (np.linalg.norm(paths[:, 1:], axis=2) > 0.0995).all()
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1)
    assert (steps > 0.3 * 0.7).all() and (steps < 0.3 * 1.2).all()
    lower = paths[:, -1, 2].mean() - paths[:, 0, 2].mean()
    assert lower < -0.15 if fall else abs(lower) < 0.05


def test_locks_run_together_at_the_tip_not_at_the_root():
    def nearest(points):
        apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(len(points))
        return np.median(apart.min(1))

    shares = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        paths = rng.uniform(-0.1, 0.1, (600, 1, 3)) + np.linspace(0, 0.3, 10)[:, None] * UP
        together = shapes.gathered(rng, paths)
        assert (together[:, 0] == paths[:, 0]).all()
        shares.append(nearest(together[:, -1]) / nearest(paths[:, -1]))
    assert max(shares) < 1.05 and min(shares) < 0.7


def test_waves_are_about_one_high_and_smooth():
    at = np.stack([np.linspace(0, 1, 2000), np.zeros(2000), np.zeros(2000)], 1)
    for seed in range(5):
        wave = shapes.waves(np.random.default_rng(seed), at, 20)
        assert 0.2 < np.abs(wave).max() < 1.7 and np.abs(np.diff(wave)).max() < 0.3


def test_a_rotation_turns_about_its_axis_by_its_length():
    turn = shapes.rotation(np.array([0, 0, np.pi / 2]))
    assert np.allclose(turn @ [1, 0, 0], [0, 1, 0]) and np.allclose(turn @ turn.T, np.eye(3))
    assert (shapes.rotation(np.zeros(3)) == np.eye(3)).all()
