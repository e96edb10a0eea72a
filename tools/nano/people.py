"""People with alpha: Anny's CC0 body model (pip: anny, roma, trimesh), dressed, haired and photographed by `studio`."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import torch
from mathutils import Vector

from . import shapes, studio

Rng = np.random.Generator
SKIN = np.array([[242, 206, 180], [224, 177, 144], [198, 146, 110], [160, 108, 76], [112, 74, 52], [70, 46, 36]], float)
HAIR = np.array([[24, 20, 20], [52, 36, 28], [92, 60, 38], [140, 98, 58], [202, 166, 110], [170, 168, 166],
                 [120, 50, 28]], float)
SPINE = {"spine05": 0.1, "spine03": 0.15, "spine01": 0.15, "neck01": 0.18, "neck03": 0.18, "head": 0.3}
HEAD = ("head", "eye", "neck02", "neck03", "jaw", "tongue", "levator", "oculi", "oris", "risorius", "temporalis", "special")
# Where the spread arms of the resting body lie, in metres from the eyes: collars and scarves begin below.
COLLAR = -0.17


def person(rng: Rng, pattern: studio.Pattern, panorama: Path, file: Path, height: int = 288) -> tuple[np.ndarray, str]:
    """One person, cut out, as uint8 RGBA [h,w,4], and the framing: "full", "half" or "head" (the last two cut below).

    pattern(rng) -> uint8 [h,w,3] is what clothes may look like; `panorama` lights them; pictures go through `file`.
    """
    body, framing = somebody(rng, pattern), str(rng.choice(["full", "half", "head"], p=[0.2, 0.4, 0.4]))
    before_camera(rng, body, framing, panorama, height, offset=0)
    return studio.cut_out(file), framing


def portrait(rng: Rng, pattern: studio.Pattern, panorama: Path, file: Path, height: int = 256) -> np.ndarray:
    """A whole picture of one person and how much of each pixel is them, uint8 RGBA [h,w,4]: before a panorama, often
    before a wall too. Arguments as of `person`."""
    body, framing = somebody(rng, pattern), str(rng.choice(["full", "half", "head"], p=[0.3, 0.4, 0.3]))
    parts = list(bpy.context.scene.collection.objects)
    direction = before_camera(rng, body, framing, panorama, int(height * rng.uniform(0.75, 1)), offset=0.25)
    ground = body.points[:, 2].min()
    if rng.random() < 0.65:
        studio.backdrop(rng, pattern, direction, np.exp(rng.uniform(-0.7, 1.8)), rng.uniform(1, 6),
                        rng.choice([0, rng.uniform(0, 0.3)]), ground)
    if rng.random() < 0.5:
        floor = np.array([[-20, -20, ground], [20, -20, ground], [20, 20, ground], [-20, 20, ground]])
        studio.surface(floor, np.array([[0, 1, 2, 3]]), studio.cloth(rng, pattern), uv=floor[:, :2] / rng.uniform(2, 8))
    return studio.photograph(file, parts)


def somebody(rng: Rng, pattern: studio.Pattern) -> Body:
    """A dressed person in an empty scene."""
    studio.clear()
    body = Body.drawn(rng)
    tint = HAIR[rng.integers(len(HAIR))] * rng.uniform(0.5, 1.1)
    bald, hat = rng.random() < 0.05, rng.random() < 0.1
    studio.surface(body.points, body.faces, studio.skin(rng), paint(rng, body, None if bald else tint))
    dress(rng, body, pattern)
    if hat:
        crown = body.of("head") & (body.up > rng.uniform(0.03, 0.06))
        garment(rng, body, pattern, crown, rng.uniform(0.012, 0.03), 8, 0.002)
    if not bald:
        hairdo(rng, body, body.scalp & (body.up < 0.06) if hat else body.scalp, tint)
    stubble(rng, body, tint * 0.8)
    if rng.random() < 0.2:
        glasses(rng, body)
    return body


def before_camera(rng: Rng, body: Body, framing: str, panorama: Path, height: int, offset: float) -> Vector:
    """Sets up camera and light, and returns the direction from body to camera. `offset`: how far the body may be from the
    middle, as a share of what is seen; then it is seen smaller, too."""
    crown = body.rest[:, 2].max() - body.eye[2]  # from eyes to crown: the measure of a head
    top = body.points[:, 2].max() + rng.uniform(0.03, 0.12)
    span = {"full": (top - body.points[:, 2].min()) * 1.03, "half": crown * rng.uniform(5.5, 10),
            "head": crown * rng.uniform(3, 5)}[framing]
    eyes = body.points[body.of("eye")].mean(0)
    span *= 1 + rng.uniform(0, 2 * offset)
    towards = Vector((eyes[0], eyes[1], top - span / 2))
    yaw, pitch = rng.normal(0, 0.5), rng.normal(0, 0.08)
    if rng.random() < 0.08:
        yaw = rng.uniform(-np.pi, np.pi)
    direction = Vector((np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)))
    aside = rng.uniform(-offset, offset) * span
    towards += Vector((direction.y, -direction.x, 0)) * aside
    studio.camera(rng, towards, direction, span, rng.uniform(35, 100), blur=offset > 0 and rng.random() < 0.7)
    studio.light(rng, panorama, "AREA", towards)
    narrow, wide = (0.8, 1.6) if offset else (0.4, 1) if framing == "full" else (0.7, 1.2)
    studio.develop(rng, height, int(height * rng.uniform(narrow, wide)))
    return direction


# --- the body --------------------------------------------------------------------------------------------------------

@functools.cache
def model():
    """Anny with its facial actions; the first call on a machine builds its cache (about 90 s)."""
    import anny

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anny.Anny(facial_actions="all").to(dtype=torch.float32)


@dataclass
class Body:
    """Somebody: faces [F, 3]; vertices [V, 3] at rest (arms spread) and posed, z up, looking along -y; normals [V, 3]."""

    faces: np.ndarray
    rest: np.ndarray
    points: np.ndarray
    normals: np.ndarray

    @classmethod
    def drawn(cls, rng: Rng) -> Body:
        rest, points = posed(rng)
        faces = model().faces.numpy()
        return cls(faces, rest, points, shapes.normals(points, faces))

    def of(self, *bones: str) -> np.ndarray:
        """Vertices that mostly follow bones whose names start so: bool [V]."""
        return np.isin(owner(), [i for i, label in enumerate(model().bone_labels) if label.startswith(bones)])

    @functools.cached_property
    def eye(self) -> np.ndarray:
        """Between the eyes, at rest."""
        return self.rest[self.of("eye")].mean(0)

    @functools.cached_property
    def up(self) -> np.ndarray:
        """Height above the eyes [V], at rest; `ahead`: how far before them."""
        return self.rest[:, 2] - self.eye[2]

    @functools.cached_property
    def ahead(self) -> np.ndarray:
        return self.eye[1] - self.rest[:, 1]

    @functools.cached_property
    def scalp(self) -> np.ndarray:
        return self.of("head", "neck03") & ((self.up > 0.055) | ((self.ahead < -0.075) & (self.up > -0.07)))

    @functools.cached_property
    def edges(self) -> np.ndarray:
        """Pairs of vertices that a face joins, both ways [E, 2]."""
        pairs = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)

    def scattered(self, rng: Rng, where: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posed points, normals and rest points, each [count, 3], spread evenly over the faces within `where`."""
        faces = self.faces[where[self.faces].all(1)]
        a, b, c = (self.points[faces[:, i]] for i in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        corners = faces[rng.choice(len(faces), count, p=area / area.sum())]
        weights = rng.dirichlet([1, 1, 1], count)[..., None]
        return tuple((values[corners] * weights).sum(1) for values in (self.points, self.normals, self.rest))


@functools.cache
def owner() -> np.ndarray:
    """The bone that each vertex follows most [V]."""
    strongest = model().vertex_bone_weights.argmax(1, keepdim=True)
    return model().vertex_bone_indices.gather(1, strongest)[:, 0].numpy()


def posed(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] at rest and posed: arms mostly down, elbows bent, standing; one in five sits, one is lively."""
    labels = list(model().bone_labels)
    turns = np.tile(np.eye(4), (len(labels), 1, 1))
    sits, lively = rng.random() < 0.2, rng.random() < 0.2
    for i, label in enumerate(labels):
        turn = bend(rng, *label.partition(".")[::2], sits, lively)
        if turn is not None:
            turns[i, :3, :3] = shapes.rotation(np.asarray(turn, float))
    phenotype = {key: float(rng.uniform(0.1, 0.9)) for key in model().phenotype_labels}
    phenotype["age"] = float(rng.uniform(0.35, 0.95))  # below .3 are babies
    faces = {key: float(rng.uniform(0, 0.6)) for key in rng.choice(model().facial_action_labels, 4, replace=False)}
    with torch.no_grad():
        out = model()(pose_parameters=torch.from_numpy(turns[None]).float(), phenotype_kwargs=phenotype,
                      facial_actions=faces)
    return out["rest_vertices"][0].numpy().astype(float), out["vertices"][0].numpy().astype(float)


def bend(rng: Rng, bone: str, side: str, sits: bool, lively: bool):
    """Axis-angle [3] that a bone turns by, or None. Turning about x to below 0 swings a limb forward."""
    sign, swing = 1 if side == "L" else -1, 2 if lively else 0.5
    if bone == "upperarm01":
        return rng.uniform(-0.9, 0.9, 3) if lively else (rng.uniform(-0.5, 0.35), sign * rng.uniform(0.3, 0.85),
                                                          rng.uniform(-0.3, 0.3))
    if bone == "lowerarm01":
        elbow = rng.choice([rng.uniform(0, 0.5), rng.uniform(0.8, 2.1)], p=[0.65, 0.35])
        return -elbow, rng.uniform(-0.2, 0.2), -sign * rng.uniform(0, 0.6)
    if bone == "upperleg01":
        hip = -rng.uniform(1.1, 1.6) if sits else rng.uniform(-0.5, 0.3) * swing
        return hip, sign * rng.uniform(-0.25, 0.1), rng.uniform(-0.1, 0.1)
    if bone == "lowerleg01":
        return (rng.uniform(1.1, 1.8) if sits else rng.uniform(0, 0.4) * swing), 0, 0
    if bone in SPINE:
        return rng.uniform(-1, 1, 3) * SPINE[bone]
    if bone.startswith("finger"):
        return rng.uniform(-0.25, 0.25, 3)
    return rng.uniform(-0.15, 0.15, 3) if bone in ("clavicle", "wrist") else None


def paint(rng: Rng, body: Body, hair: np.ndarray | None) -> np.ndarray:
    """Colour [V, 3] of skin, eyes, brows, lips, and of the scalp below hair."""
    colour = SKIN[rng.integers(len(SKIN))] * rng.uniform(0.85, 1.1) + rng.normal(0, 4, (len(body.rest), 1))
    colour += 14 / 3 * np.sin(body.rest * 25 + rng.uniform(0, 6, 3)).sum(1, keepdims=True)
    eyes, offset = body.of("eye"), np.abs(body.rest - body.eye)
    lips = (offset[:, 0] < 0.024) & (np.abs(body.up + 0.068) < 0.009) & (body.ahead > -0.005)
    colour[lips] = colour[lips] * 0.5 + np.array([150, 50, 55]) * 0.5
    colour[eyes] = 225
    pupil = eyes & (np.hypot(offset[:, 0] - offset[eyes, 0].mean(), body.up) < 0.006) & (body.ahead > 0)
    colour[pupil] = 25
    if hair is not None:
        colour[body.scalp] = hair * 0.7
    return np.clip(colour, 0, 255)


# --- clothes ---------------------------------------------------------------------------------------------------------

def dress(rng: Rng, body: Body, pattern: studio.Pattern) -> None:
    """Shoes, trousers and a shirt, often a jacket, sometimes a scarf."""
    feet, arms, legs = body.of("foot", "toe"), body.of("lowerarm", "upperarm"), body.of("upperleg", "lowerleg", "pelvis")
    trunk = ~(body.of(*HEAD) | body.of("wrist", "finger", "metacarpal") | feet | arms | legs)
    low, height = body.of("neck01"), body.rest[:, 2]
    crotch = height[trunk].min()
    front = body.ahead > -0.06
    if rng.random() < 0.85:
        garment(rng, body, pattern, feet, rng.uniform(0.008, 0.018), 14, 0)
    bare = body.of("lowerleg") if rng.random() < 0.25 else np.zeros_like(legs)
    garment(rng, body, pattern, legs & ~bare, rng.uniform(0.008, 0.02), rng.integers(4, 20), rng.uniform(0, 0.006))

    sleeves = [np.zeros_like(arms), body.of("upperarm"), arms][rng.choice(3, p=[0.1, 0.35, 0.55])]
    shirt = (trunk | legs) & (height > crotch + rng.uniform(0.02, 0.2)) | sleeves
    if rng.random() < 0.75:
        shirt &= ~low
    if rng.random() < 0.25:
        shirt |= low | body.of("neck02")
    collar = rng.choice(["round", "pointed", "closed"], p=[0.5, 0.25, 0.25])
    if collar == "pointed":
        shirt &= ~((np.abs(body.rest[:, 0]) < (body.up + 0.36) * 0.35) & front & (body.up > -0.36))
    elif collar == "round":
        shirt &= ~((np.hypot(body.rest[:, 0], body.up - COLLAR) < rng.uniform(0.08, 0.13)) & front)
    garment(rng, body, pattern, shirt, rng.uniform(0.006, 0.02), rng.integers(3, 25), rng.uniform(0, 0.006))

    if rng.random() < 0.45:
        jacket = (trunk | legs) & (height > crotch + rng.uniform(-0.02, 0.12)) | arms
        jacket &= ~((np.abs(body.rest[:, 0]) < rng.uniform(0, 0.12) * (body.up + 1.4)) & front)
        if rng.random() < 0.5:
            jacket |= low
        garment(rng, body, pattern, jacket, rng.uniform(0.025, 0.05), rng.integers(15, 60), rng.uniform(0.002, 0.01))
    if rng.random() < 0.12:
        scarf(rng, body, pattern)


def garment(rng: Rng, body: Body, pattern: studio.Pattern, where: np.ndarray, away: float, loose: int,
            folds: float) -> None:
    """A shell over vertices [V], `away` metres from the skin, evened out `loose` times, in folds of so many metres."""
    faces = body.faces[where[body.faces].all(1)]
    if not len(faces):
        return
    points = shapes.evened(body.points + body.normals * away / 2, body.edges, loose, 0.5)
    reached = ((points - body.points) * body.normals).sum(1, keepdims=True)
    points += body.normals * np.maximum(away - reached, 0)  # nowhere within the body
    points += body.normals * (folds * (shapes.waves(rng, body.rest, rng.uniform(15, 50)) + 1))[:, None]
    pairs, seen = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0, return_counts=True)
    rim = pairs[seen == 1]
    points = shapes.evened(points, np.concatenate([rim, rim[:, ::-1]]), 8, 0.6)  # hems run straight
    around = np.arctan2(body.rest[:, 0], -body.rest[:, 1]) / np.pi + body.rest[:, 0]
    used, index = np.unique(faces, return_inverse=True)
    studio.surface(points[used], index.reshape(-1, 3), studio.cloth(rng, pattern),
                   uv=np.stack([around, body.rest[:, 2]], 1)[used], thick=0.004)


def scarf(rng: Rng, body: Body, pattern: studio.Pattern) -> None:
    """A thick tube that winds twice around the neck."""
    neck = body.points[body.of("neck01", "neck02")].mean(0)
    angle = np.linspace(0, 4 * np.pi, 120)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    rise = 0.02 * np.sin(angle / 2 + 1) + np.linspace(-0.04, 0.05, 120)
    path = neck + ring * rng.uniform(0.075, 0.1) + np.outer(rise, [0, 0, 1])
    radius = rng.uniform(0.025, 0.04) * (1 + 0.15 * np.sin(angle * 7))
    points, faces = shapes.tube(path, np.stack([radius, radius * 1.2], 1), np.array([0.0, 0, 1]), 24)
    u, v = np.meshgrid(np.linspace(0, 6, 120), np.linspace(0, 1, 24), indexing="ij")
    studio.surface(points, faces, studio.cloth(rng, pattern), uv=np.stack([u.ravel(), v.ravel()], 1))


# --- hair and glasses ------------------------------------------------------------------------------------------------

def hairdo(rng: Rng, body: Body, where: np.ndarray, tint: np.ndarray) -> None:
    """Strands from the scalp [V]: cropped, short, down to the shoulders or beyond, curly."""
    cut = str(rng.choice(["cropped", "short", "medium", "long", "curly"], p=[0.19, 0.29, 0.16, 0.21, 0.15]))
    length = {"cropped": rng.uniform(0.008, 0.025), "short": rng.uniform(0.03, 0.07), "medium": rng.uniform(0.1, 0.2),
              "long": rng.uniform(0.25, 0.5), "curly": rng.uniform(0.06, 0.3)}[cut]
    fall = {"cropped": 0.02, "short": rng.uniform(0.05, 0.4), "curly": rng.uniform(0.1, 0.4)}.get(cut, rng.uniform(0.5, 1))
    curl = rng.uniform(0.25, 0.8) if cut == "curly" else rng.choice([0, rng.uniform(0, 0.25)])
    roots, out, rest = body.scattered(rng, where, 8000 if cut == "cropped" else 4500)
    lengths = np.full((len(roots), 1), length)
    if rng.random() < 0.7:  # a face is seen
        lengths[body.eye[1] - rest[:, 1] > -0.02] = min(length, rng.uniform(0.03, 0.08))
    parting = np.sign(rest[:, :1] - rng.normal(0, 0.02))
    combed = out + np.concatenate([parting * rng.uniform(0, 0.8), np.full_like(parting, rng.uniform(-0.3, 0.8)),
                                   np.full_like(parting, rng.uniform(-0.3, 0.6))], 1)
    head = body.points[body.of("head")]
    paths = shapes.grown(rng, roots, combed, (head.min(0) + head.max(0)) / 2, np.ptp(head, 0) * [0.44, 0.44, 0.49], lengths,
                  8 if length < 0.1 else 14, fall, curl)
    studio.strands(shapes.gathered(rng, paths), rng.uniform(0.0004, 0.0009), studio.hair(rng, tint))


def stubble(rng: Rng, body: Body, tint: np.ndarray) -> None:
    """Brows, and one in five has a beard."""
    eyes = np.abs(body.rest[body.of("eye"), 0] - body.eye[0]).mean()
    brows = (np.abs(np.abs(body.rest[:, 0] - body.eye[0]) - eyes) < 0.022) & (np.abs(body.up - 0.024) < 0.007)
    brows &= body.ahead > 0
    mouth = (np.abs(body.rest[:, 0]) < 0.022) & (np.abs(body.up + 0.072) < 0.007)
    beard = body.of("head", "jaw") & (np.abs(body.up + 0.09) < 0.04) & (body.ahead > -0.05) & ~mouth
    for where, count, length, falls, share in ((brows, 350, 0.008, 0.2, 0.9),
                                               (beard, 2500, rng.uniform(0.003, 0.025), -0.6, 0.2)):
        if rng.random() < share and where[body.faces].all(1).any():
            roots, out, _ = body.scattered(rng, where, count)
            direction = out * 0.6 + rng.normal(0, 0.3, out.shape) + [0, 0, falls]
            paths = roots[:, None] + direction[:, None] * np.linspace(0, length, 4)[:, None]
            studio.strands(paths, 0.0004, studio.hair(rng, tint))


def glasses(rng: Rng, body: Body) -> None:
    """Two rings before the eyes, in some dark."""
    frame, dark = studio.plain(rng.uniform(0, 120, 3)), rng.random() < 0.4
    left, right = (body.points[body.of("eye") & ((body.rest[:, 0] > 0) == side)].mean(0) for side in (False, True))
    across = (right - left) / np.linalg.norm(right - left)
    ahead = body.normals[body.of("eye")].mean(0)
    ahead -= across * (ahead @ across)
    ahead *= -np.sign(ahead[1]) / np.linalg.norm(ahead)
    width, height = rng.uniform(0.024, 0.03), rng.uniform(0.017, 0.026)
    angle = np.linspace(0, 2 * np.pi, 41)
    for eye in (left, right):
        middle = eye + ahead * 0.028
        ring = middle + np.outer(np.cos(angle) * width, across) + np.outer(np.sin(angle) * height, np.cross(across, ahead))
        studio.surface(*shapes.tube(ring, np.full((41, 2), 0.002), ahead, 8), frame)
        if dark:
            fan = np.stack([np.zeros(40, int), np.arange(1, 41), np.arange(2, 42)], 1)
            studio.surface(np.concatenate([[middle], ring]), fan, frame)
