"""Shapes of the rendered people and birds: arrays in, arrays out. Lengths are metres, z is up."""

from __future__ import annotations

import numpy as np

Rng = np.random.Generator


# --- surfaces --------------------------------------------------------------------------------------------------------

def tube(path: np.ndarray, radii: np.ndarray, up: np.ndarray, sides: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Points [P*sides, 3] and quads around a path [P, 3] with radii [P, 2], across and along `up`."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, up)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = (across[:, None] * (np.cos(angle) * radii[:, :1])[..., None]
            + np.cross(across, along)[:, None] * (np.sin(angle) * radii[:, 1:])[..., None])
    return (path[:, None] + ring).reshape(-1, 3), quads(len(path), sides, closed=True)


def quads(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """Faces [F, 4] of a grid of rows × columns points; `closed` joins the last column to the first."""
    i = np.arange(rows * columns).reshape(rows, columns)
    j = np.roll(i, -1, 1) if closed else i[:, 1:]
    i = i if closed else i[:, :-1]
    return np.stack([i[:-1], j[:-1], j[1:], i[1:]], -1).reshape(-1, 4)


def through(knots: np.ndarray, count: int) -> np.ndarray:
    """Points [count, D] of the Catmull-Rom curve through knots [K, D]."""
    wide = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, len(knots) - 1 - 1e-9, count)
    i, f = t.astype(int), (t % 1)[:, None]
    a, b, c, d = wide[i], wide[i + 1], wide[i + 2], wide[i + 3]
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)


def normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3] of vertices, by the area of the faces around them."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    flat = np.cross(b - a, c - a)
    sums = np.stack([sum(np.bincount(faces[:, i], flat[:, d], len(points)) for i in range(3)) for d in range(3)], 1)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def evened(points: np.ndarray, edges: np.ndarray, times: int, share: float) -> np.ndarray:
    """Points [V, 3] that were drawn towards the mean of their neighbours; edges [E, 2] both ways."""
    count = np.bincount(edges[:, 0], minlength=len(points))[:, None]
    for _ in range(times):
        sums = np.stack([np.bincount(edges[:, 0], points[edges[:, 1], d], len(points)) for d in range(3)], 1)
        points = np.where(count > 0, (1 - share) * points + share * sums / count.clip(1), points)
    return points


# --- hair -------------------------------------------------------------------------------------------------------------

def grown(rng: Rng, roots, direction, centre, radii, lengths, steps: int, fall: float, curl: float) -> np.ndarray:
    """Paths [S, steps, 3] from roots [S, 3], first in a direction [S, 3], then more and more downwards by `fall`, winding
    by `curl`; outside of an ellipsoid, the head."""
    step = lengths * rng.uniform(0.75, 1.1, (len(roots), 1)) / (steps - 1)
    mess, frizz, pitch = rng.uniform(0.05, 0.6), rng.uniform(0, 0.12), rng.uniform(0.5, 1.8)
    phase = 3 * waves(rng, roots, 60, 1)[:, None] + rng.normal(0, mess, (len(roots), 1))
    direction = direction + rng.normal(0, 0.12, roots.shape)
    path = [roots]
    for i in range(1, steps):
        direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
        winding = [np.sin(phase + i * pitch), np.cos(phase + i * pitch), 0.4 * np.sin(1.3 * phase + i * pitch)]
        direction = direction + curl * np.concatenate(winding, 1) + rng.normal(0, frizz, roots.shape)
        direction -= np.array([0, 0, fall]) * step / 0.03
        from_centre = (path[-1] + direction / np.linalg.norm(direction, axis=1, keepdims=True) * step - centre) / radii
        path.append(centre + from_centre * radii * np.maximum(
            1, 1.02 / np.maximum(np.linalg.norm(from_centre, axis=1, keepdims=True), 1e-6)))
    return np.stack(path, 1)


def gathered(rng: Rng, paths: np.ndarray) -> np.ndarray:
    """Paths [S, P, 3] that run together into locks towards the tip."""
    locks = paths[rng.choice(len(paths), rng.integers(60, 500), replace=False)]
    nearest = np.linalg.norm(paths[:, None, 0] - locks[None, :, 0], axis=2).argmin(1)
    pull = rng.uniform(0, 0.8) * np.linspace(0, 1, paths.shape[1])[:, None] ** 1.2
    return paths * (1 - pull) + (locks[nearest] + rng.normal(0, 0.004, paths.shape)) * pull


# --- both -------------------------------------------------------------------------------------------------------------

def waves(rng: Rng, at: np.ndarray, scale: float, octaves: int = 3) -> np.ndarray:
    """Smooth noise [N] of about -1..1 at points [N, 3]: sines of bent sines; `scale` in radians per metre."""
    total, weight = np.zeros(len(at)), 0.0
    for octave in range(octaves):
        for _ in range(3):
            step = rng.normal(0, 1, 3)
            step *= scale * 2**octave / np.linalg.norm(step)
            bend = 1.5 * np.sin(at @ rng.normal(0, scale * 2**octave / 2, 3))
            total += np.sin(at @ step + rng.uniform(0, 6.3) + bend) / 2**octave
            weight += 1 / 2**octave
    return total / weight * 1.7


def rotation(turn: np.ndarray) -> np.ndarray:
    """Rotation matrix of an axis-angle vector (Rodrigues)."""
    angle = np.linalg.norm(turn)
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = turn / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
