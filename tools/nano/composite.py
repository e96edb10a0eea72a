"""Image and alpha pairs: photographs with mattes, and cut-outs laid over other photographs as if they
belonged there.

`make_pair(pictures, seed, index, size)` depends on its arguments only, so a run can be repeated and resumed.
Images are float32 [h,w,3] in 0..1 inside, alphas float32 [h,w] in 0..1.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from .cache import Pictures

Rng = np.random.Generator
SCENE_SHARE = 0.5      # whole photographs, with the backgrounds that their subjects had
PORTRAIT_SHARE = 0.15  # photographs of people among those
EMPTY_SHARE = 0.11     # pictures without a subject
REFLECTED_SHARE = 0.15 # of whole photographs, pushed aside by their mirror image
SMALLEST_SUBJECT, SMALLEST_CLUTTER = 0.012, 0.001  # of the picture's area, in view
# What the subjects of composites are; "human" is photographed, "person" and "model" are rendered.
SUBJECT_SHARES = {"animal": 0.35, "human": 0.11, "person": 0.16, "model": 0.25, "thing": 0.13}


def make_pair(pictures: Pictures, seed: int, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 image [size,size,3] and uint8 alpha [size,size], 255 = subject."""
    rng = np.random.default_rng([seed, index])
    kind = rng.random()
    if kind < SCENE_SHARE:
        image, alpha = make_scene(pictures, rng, size)
    else:
        empty = kind > 1 - EMPTY_SHARE
        image, alpha = make_background(pictures, rng, size, empty), np.zeros((size, size), np.float32)
        for _ in range(0 if empty else rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05])):
            image, alpha = add_subject(pictures, rng, image, alpha)
    return photograph(rng, image), as_bytes(alpha)


def make_labelled_pair(pictures: Pictures, seed: int, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`make_pair` of a cache of crops with soft mattes (kind "labelled")."""
    rng = np.random.default_rng([seed, index])
    pixels, _ = pictures.draw(rng, "labelled")
    height, width = pixels.shape[:2]
    w, h = rng.uniform(0.6, 1, 2) * (width, height) if rng.random() < 0.6 else (width, height)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    image, alpha = resize_part(pixels, (x, y, x + w, y + h), size)
    if rng.random() < 0.5:
        image, alpha = image[:, ::-1], alpha[:, ::-1]
    if rng.random() < REFLECTED_SHARE:
        image, alpha = push_aside(rng, image, alpha)
    return photograph(rng, jitter(rng, image, 0.15)), as_bytes(alpha)


# --- whole photographs and backgrounds ----------------------------------------------------------------------

def make_scene(pictures: Pictures, rng: Rng, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A part of a photograph that shows most of its subject, in other light, and the subject's matte."""
    pixels, _ = pictures.draw(rng, "portrait" if rng.random() < PORTRAIT_SHARE else "scene")
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    height, width = pixels.shape[:2]
    solid = pixels[..., 3] > 127
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    # Each side lies anywhere between the picture's border and a fifth inside of the subject.
    inner = 0.2 if rng.random() < 0.4 else 0.0
    top, left = (rng.uniform(0, first + inner * span) for first, span in ((rows[0], np.ptp(rows)),
                                                                          (columns[0], np.ptp(columns))))
    bottom, right = (rng.uniform(last - inner * span, end) for last, span, end in (
        (rows[-1] + 1, np.ptp(rows), height), (columns[-1] + 1, np.ptp(columns), width)))
    colours, alpha = resize_part(pixels, (left, top, right, bottom), size)
    image = jitter(rng, colours, 0.2)
    if rng.random() < 0.3:  # a subject lighter or darker than it was
        image = mix(image, jitter(rng, image, 0.4), alpha[..., None])
    if rng.random() < 0.2:
        image = mix(blur(image, rng.uniform(0.01, 0.03) * size), image, alpha[..., None])
    return push_aside(rng, image, alpha) if rng.random() < REFLECTED_SHARE else (image, alpha)


def resize_part(pixels: np.ndarray, box: tuple[float, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and alpha of a part (left, top, right, bottom) of RGBA; apart, because Pillow resizes RGBA with a
    black background."""
    return tuple(as_float(Image.fromarray(np.ascontiguousarray(part)).resize(
        (size, size), Image.Resampling.BICUBIC, box, reducing_gap=2.0))
        for part in (pixels[..., :3], pixels[..., 3]))


def push_aside(rng: Rng, image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture and alpha off-centre, or smaller, in their mirror image."""
    size = len(image)
    more = int(rng.uniform(0.08, 0.35) * size)
    first = rng.choice([0, more], 2) if rng.random() < 0.7 else np.repeat(rng.integers(more + 1), 2)
    pad = [(int(before), int(more - before)) for before in first]
    wide = np.pad(image, [*pad, (0, 0)], "reflect"), np.pad(alpha, pad, "reflect")
    return tuple(as_float(Image.fromarray(as_bytes(x)).resize((size, size), Image.Resampling.BICUBIC,
                                                              reducing_gap=2.0)) for x in wide)


def make_background(pictures: Pictures, rng: Rng, size: int, empty: bool) -> np.ndarray:
    """What stands behind a subject; `empty`: nothing in it may be taken for one."""
    kind = rng.random()
    if empty and rng.random() < 0.4:
        image = regular_pattern(rng, size) if rng.random() < 0.75 else gradient(rng, size)
    elif kind < 0.3:
        kinds = ("empty",) if empty or rng.random() < 0.4 else ("empty", "place")
        image = crop(rng, pictures.draw(rng, *kinds)[0], size)
    elif kind < 0.66:
        image = crop(rng, pictures.draw(rng, "empty", "panorama")[0], size)
    elif kind < 0.78:
        image = texture(rng, size)
    elif kind < 0.84:
        image = regular_pattern(rng, size)
    else:
        image = gradient(rng, size)
    if rng.random() < 0.22:  # other things, out of focus
        for _ in range(rng.integers(1, 5)):
            image = add_subject(pictures, rng, image, np.zeros((size, size), np.float32), clutter=True)[0]
        image = blur(image, rng.uniform(0.02, 0.06) * size)
    elif rng.random() < 0.27:
        image = blur(image, rng.uniform(0.003, 0.05) * size)
    return jitter(rng, image, 0.15)


def crop(rng: Rng, pixels: np.ndarray, size: int) -> np.ndarray:
    """A random part, a third of the shorter side or more, maybe mirrored, resized to a square."""
    height, width = pixels.shape[:2]
    h = int(min(height, width) * rng.uniform(0.35, 1))
    w = int(min(width, h * rng.uniform(0.75, 1.33)))
    y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
    part = pixels[y:y + h, x:x + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return as_float(Image.fromarray(np.ascontiguousarray(part)).resize((size, size), Image.BILINEAR))


def gradient(rng: Rng, size: int) -> np.ndarray:
    """Studio backdrops: one colour, or a soft change between two."""
    # Black and white are what studios have, and frames that are faded out.
    one = rng.uniform(0, 1, 3) if rng.random() < 0.8 else np.full(3, rng.choice([0.0, 1.0]))
    other = np.clip(one + rng.normal(0, rng.choice([0.0, 0.02, 0.3]), 3), 0, 1)
    y, x = np.mgrid[0:1:size * 1j, 0:1:size * 1j].astype(np.float32)
    if rng.random() < 0.5:
        away = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8))
        t = np.clip(away * rng.uniform(0.7, 1.6), 0, 1)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        t = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)
    return mix(other, one, t[..., None])


def texture(rng: Rng, size: int) -> np.ndarray:
    """Noise over several octaves, stretched like grass, fur or bark, between two or three colours."""
    stretch = np.exp(rng.normal(0, 0.8))
    field = noise(rng, size, rng.integers(2, 7), stretch, falloff=rng.uniform(0.4, 0.95))
    colours = np.clip(rng.uniform(0, 1, 3) + rng.normal(0, 0.22, (3, 3)), 0, 1)
    image = mix(colours[0], colours[1], field[..., None])
    return mix(image, colours[2], noise(rng, size, 3, 1.0, 0.6)[..., None] * 0.6)


def regular_pattern(rng: Rng, size: int) -> np.ndarray:
    """Stripes, checks, brickwork and pure grain: much contrast and nothing to cut out."""
    kind = rng.integers(4)
    if kind == 0:
        grain = rng.random((size, size, rng.choice([1, 3])), np.float32) * np.ones(3, np.float32)
        return blur(grain, rng.uniform(0.5, 3)) if rng.random() < 0.5 else grain
    y, x = np.mgrid[0:1:size * 1j, 0:1:size * 1j].astype(np.float32)
    angle, count = rng.choice([0, rng.uniform(0, 2 * np.pi)]), rng.uniform(3, 30)
    bend = (noise(rng, size, 2, 1.0, 0.5) - 0.5) * rng.uniform(0, 0.1)
    u = (x * np.cos(angle) + y * np.sin(angle) + bend) * count
    v = (y * np.cos(angle) - x * np.sin(angle)) * count
    if kind == 1:
        field = np.sin(2 * np.pi * u) * 0.5 + 0.5
    elif kind == 2:
        field = ((np.floor(u) + np.floor(v)) % 2).astype(np.float32)
    else:  # bricks, tiles or planks: stones of slightly different tone between joints
        u = u / rng.uniform(1, 6) + 0.5 * (np.floor(v) % 2)
        tones = rng.random((64, 64), np.float32)[np.floor(v).astype(int) % 64, np.floor(u).astype(int) % 64]
        edge = np.minimum(np.minimum(u % 1, 1 - u % 1) * 2, np.minimum(v % 1, 1 - v % 1))
        field = np.where(edge < rng.uniform(0.02, 0.12), 1, tones * rng.uniform(0, 0.6))
    image = mix(rng.uniform(0, 1, 3), rng.uniform(0, 1, 3), field[..., None])
    return np.clip(image * (1 - rng.uniform(0, 0.5) * noise(rng, size, 6, 1.0, 0.9)[..., None]), 0, 1)


def noise(rng: Rng, size: int, octaves: int, stretch: float, falloff: float) -> np.ndarray:
    """Value noise in 0..1; stretch above 1 makes vertical streaks, below 1 horizontal ones."""
    total, weight = np.zeros((size, size), np.float32), 1.0
    cells = 2
    for _ in range(octaves):
        shape = (max(2, min(size, int(cells / stretch**0.5))), max(2, min(size, int(cells * stretch**0.5))))
        grid = Image.fromarray(rng.random(shape, np.float32), "F")
        total += weight * np.asarray(grid.resize((size, size), Image.BICUBIC))
        cells, weight = cells * 2, weight * falloff
    low, high = total.min(), total.max()
    return (total - low) / max(high - low, 1e-6)


# --- subjects -----------------------------------------------------------------------------------------------

def add_subject(pictures: Pictures, rng: Rng, image: np.ndarray,
                alpha: np.ndarray, clutter: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The image with one more subject, and the union of alphas; as they were where nobody could see it.

    clutter: it may be small, and may lie outside for the most part.
    """
    size = len(image)
    layer, framing = draw_subject(pictures, rng)
    for _ in range(4):
        placed, inside = place(rng, layer, framing, size)
        if inside > 0.6 or framing != "full" or clutter or rng.random() < 0.1:
            break
    colour, cover = as_float(placed)[..., :3], as_float(placed)[..., 3]
    if (cover > 0.5).mean() < (SMALLEST_CLUTTER if clutter else SMALLEST_SUBJECT):
        return image, alpha
    natural = colour
    if rng.random() < 0.35:
        colour = add_markings(pictures, rng, colour)
    colour = harmonise(rng, colour, cover, image)
    if is_hidden(colour, cover, image):
        colour = jitter(rng, natural, 0.2)
        if is_hidden(colour, cover, image):
            return image, alpha
    if rng.random() < 0.35:
        image = cast_shadow(rng, image, cover)
    if rng.random() < 0.35:  # a lens not quite in focus; colours spread with the edge
        radius = rng.uniform(0.3, 1.6) * size / 256
        cover, colour = blur(cover, radius), blur(colour, radius)
    return mix(image, colour, cover[..., None]), np.maximum(alpha, cover)


def draw_subject(pictures: Pictures, rng: Rng) -> tuple[Image.Image, str]:
    """A cut-out (RGBA) and its framing: "full", "close" (fills the frame and leaves it below), or "half" and
    "head" (already cut below, so must reach the lower border)."""
    kind = rng.choice(list(SUBJECT_SHARES), p=list(SUBJECT_SHARES.values()))
    pixels, name = pictures.draw(rng, kind)
    if kind in ("person", "human"):
        return Image.fromarray(pixels), name
    return Image.fromarray(pixels), "close" if kind == "animal" and rng.random() < 0.3 else "full"


def place(rng: Rng, layer: Image.Image, framing: str, size: int) -> tuple[Image.Image, float]:
    """The cut-out mirrored, turned, scaled and set into a transparent square of the frame's size; and the
    share of it that lies inside."""
    if rng.random() < 0.5:
        layer = layer.transpose(Image.FLIP_LEFT_RIGHT)
    width, height = layer.size
    if framing == "close":
        scale = rng.uniform(0.9, 1.9) * size / height
        turn = rng.normal(0, 6)
        anchor = np.array([width * rng.uniform(0.15, 0.85), 0])
        centre = np.array([rng.normal(0.5, 0.12), rng.uniform(0.0, 0.35)]) * size
    elif framing != "full":
        scale = rng.uniform(0.65, 1.3) * size / height
        turn = rng.normal(0, 4)
        # The lower edge lies below the frame.
        centre = np.array([rng.normal(0.5, 0.14 if rng.random() < 0.6 else 0.28), 1.02]) * size
        anchor = np.array([width / 2, height * rng.uniform(0.85, 0.99)])
    else:
        smallest = 0.5 if rng.random() < 0.8 else 0.22
        scale = np.exp(rng.uniform(np.log(smallest), np.log(1.35))) * size / max(width, height)
        turn = rng.normal(0, 8) if rng.random() < 0.8 else rng.uniform(-180, 180)
        centre = rng.normal(0.5, 0.15 if rng.random() < 0.6 else 0.28, 2) * size
        anchor = np.array([width / 2, height / 2])
    squeeze = np.exp(rng.normal(0, 0.17))  # networks stretch the photograph to a square
    angle = np.deg2rad(turn)
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = rotate @ np.diag([scale * squeeze, scale / squeeze])
    back = np.linalg.inv(forward)
    shift = anchor - back @ centre
    if scale < 0.7:  # reduce first: the transform itself does not average
        factor = max(1, int(1 / scale))
        layer, back, shift = layer.reduce(factor), back / factor, shift / factor
    premultiplied = layer.convert("RGBa")
    data = (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])
    placed = premultiplied.transform((size, size), Image.AFFINE, data, Image.BILINEAR).convert("RGBA")
    whole = np.asarray(layer.getchannel("A"), np.float32).sum() / max(abs(np.linalg.det(back)), 1e-9)
    return placed, float(np.asarray(placed.getchannel("A"), np.float32).sum() / max(whole, 1.0))


def is_hidden(colour: np.ndarray, cover: np.ndarray, image: np.ndarray) -> bool:
    """Whether most of the subject, seen from afar, is so much like what is behind it that nobody could cut it
    out."""
    colour, image, cover = (as_float(Image.fromarray(as_bytes(x)).reduce(4)) for x in (colour, image, cover))
    far = 0.02 * len(image)
    difference = np.abs(blur(colour, far) - blur(image, far)).max(2)[cover >= 0.5 * cover.max()]
    return (difference > 0.1).mean() < 0.5


def add_markings(pictures: Pictures, rng: Rng, colour: np.ndarray) -> np.ndarray:
    """Parts of the subject in another colour or stuff, light and shade kept: clothes, a saddle, spots, a
    handle. What hangs together is one subject, however different its parts look."""
    size = len(colour)
    field = ramp(rng, size) if rng.random() < 0.5 else noise(rng, size, int(rng.integers(1, 4)), 1.0, 0.5)
    edge = rng.uniform(0.3, 0.7)
    region = np.clip((field - edge) * rng.uniform(15, 60) + 0.5, 0, 1)[..., None] * rng.uniform(0.6, 1)
    light = colour.mean(2, keepdims=True)
    kind = rng.random()
    if kind < 0.4:
        stuff = rng.uniform(0, 1, 3) * (0.35 + light)
    elif kind < 0.6:
        stuff = jitter(rng, colour, 0.8)
    elif kind < 0.8:
        stuff = texture(rng, size) * (0.5 + light)
    else:
        stuff = crop(rng, pictures.draw(rng, "empty", "panorama")[0], size) * (0.5 + light)
    return mix(colour, np.clip(stuff * rng.uniform(0.4, 1.3), 0, 1), region)


def harmonise(rng: Rng, colour: np.ndarray, cover: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Colours jittered, then often drawn towards the background's, so that a colour clash is not the cue."""
    colour = jitter(rng, colour, 0.2)
    if rng.random() < 0.35:
        inside = colour[cover > 0.5 * cover.max()][::7]  # of glass, all may be fainter than a half
        mean, spread = inside.mean(0), inside.std() + 1e-3
        sample = image[::5, ::5]
        goal, goal_spread = sample.mean((0, 1)), sample.std() + 1e-3
        matched = (colour - mean) * np.clip(goal_spread / spread, 0.6, 1.5) + goal
        colour = mix(colour, matched, rng.uniform(0, 0.6))
    if rng.random() < 0.16:  # against the light, or dark by nature
        colour = colour * rng.uniform(0.05, 0.4)
    if rng.random() < 0.12:  # plain: detail behind the subject, none in it
        colour = mix(colour, blur(colour, rng.uniform(0.01, 0.05) * len(colour)), rng.uniform(0.5, 1))
    if rng.random() < 0.3:
        colour = colour * (0.6 + 0.8 * ramp(rng, len(colour)))[..., None]
    return np.clip(colour, 0, 1)


def cast_shadow(rng: Rng, image: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """A soft dark copy of the subject, shifted; drawn before the subject."""
    size = len(image)
    dx, dy = (rng.normal(0, 0.06, 2) * size).astype(int)
    cast = np.roll(cover, (dy, dx), (0, 1))
    cast = blur(cast, rng.uniform(0.005, 0.05) * size)
    return image * (1 - rng.uniform(0.1, 0.7) * cast)[..., None]


# --- the photograph as a whole ------------------------------------------------------------------------------

def photograph(rng: Rng, image: np.ndarray) -> np.ndarray:
    """What camera and file do: light, exposure, blur, noise, resizing, JPEG. uint8."""
    size = len(image)
    if rng.random() < 0.25:
        image = image * (0.65 + 0.6 * ramp(rng, size))[..., None]
    image = jitter(rng, image, 0.2)
    if rng.random() < 0.75:
        image = limit_chroma(image, rng.uniform(0.03, 0.3))
    if rng.random() < 0.25:
        image = blur(image, rng.uniform(0.3, 1.2) * size / 256)
    if rng.random() < 0.15:
        small = int(size * rng.uniform(0.4, 0.8))
        reduced = Image.fromarray(as_bytes(image)).resize((small, small), Image.BOX)
        image = as_float(reduced.resize((size, size)))
    if rng.random() < 0.3:
        grain = rng.standard_normal((size, size, rng.choice([1, 3])), np.float32)
        image = image + grain * np.float32(rng.uniform(0.005, 0.04))
    if rng.random() < 0.2:
        image = np.repeat(image @ np.full((3, 1), 1 / 3, np.float32), 3, 2)
    pixels = as_bytes(image)
    if rng.random() < 0.45:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.uniform(30, 95)))
        pixels = np.asarray(Image.open(buffer))
    return pixels


def jitter(rng: Rng, image: np.ndarray, amount: float) -> np.ndarray:
    """Gain per channel, gamma and saturation."""
    keep = rng.uniform(1 - 2 * amount, 1 + amount)
    gain = np.exp(rng.normal(0, 0.35 * amount, 3) + rng.normal(0, 0.7 * amount))
    colours = (np.eye(3) * keep + (1 - keep) / 3) * gain  # saturation, then gain: one matrix for every pixel
    image = np.clip(image @ colours.astype(np.float32), 1e-4, 1)
    return image ** np.float32(np.exp(rng.normal(0, amount))) if rng.random() < 0.5 else image


def limit_chroma(image: np.ndarray, chroma: float) -> np.ndarray:
    """Colours no stronger than photographs have: `chroma` is the largest mean of maximum minus minimum over
    channels."""
    present = float(np.ptp(image[::4, ::4], 2).mean())
    if present <= chroma:
        return image
    return mix(image @ np.full((3, 1), 1 / 3, np.float32), image, chroma / present)


def ramp(rng: Rng, size: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5:0.5:size * 1j, -0.5:0.5:size * 1j].astype(np.float32)
    return np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)


def blur(image: np.ndarray, radius: float) -> np.ndarray:
    """`radius` in pixels is the Gaussian's standard deviation; wide ones are computed at a half or a quarter
    of the size."""
    picture = Image.fromarray(as_bytes(image))
    factor = 1 if radius < 4 else 2 if radius < 8 else 4
    if factor == 1:
        return as_float(picture.filter(ImageFilter.GaussianBlur(radius)))
    small = picture.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor))
    return as_float(small.resize(picture.size, Image.BILINEAR))


def mix(a, b, t) -> np.ndarray:
    """`a` where t is 0, `b` where it is 1; float32."""
    a, b, t = (np.asarray(x, np.float32) for x in (a, b, t))
    mixed = (b - a) * t
    mixed += a
    return mixed


def as_float(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32) / np.float32(255)


def as_bytes(image: np.ndarray) -> np.ndarray:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
