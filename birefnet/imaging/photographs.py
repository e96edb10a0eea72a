"""Photographs with what a result keeps of them: native colours in full depth, profile, resolution, EXIF."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base
from torch import Tensor

from . import deep, pictures
from .colour import to_linear, to_srgb

# EXIF entries that describe the photograph. Those that describe the file (its size, strips, orientation) or
# the place are left out.
EXIF_KEPT = (Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist,
             Base.Copyright)
EXIF_SECRET = (Base.MakerNote, Base.BodySerialNumber, Base.LensSerialNumber, Base.CameraOwnerName)


@dataclass
class Photograph:
    """A decoded picture file, upright.

    Args:
        srgb: the picture for networks, float32 [1,H,W,C] sRGB in 0..1, C 3, or 4 with straight alpha.
        native: the file's values before any colour conversion, float32 [1,H,W,C], unbounded in float files,
            in the colour space of `icc`; `srgb` itself where they are the same.
        linear: whether `native` is proportional to light.
        depth: the one of deep.DEPTHS that holds `native`.
        narrow_bits: bits that its 16-bit samples use, where these are fewer; else 0.
        icc: the ICC profile of `native`.
        dpi: horizontal and vertical dots per inch.
        exif: EXIF without the place, serial numbers, thumbnail and orientation.
        header: attributes of an EXR file that another file may keep.
    """

    srgb: Tensor
    native: Tensor
    linear: bool = False
    depth: str = "8"
    narrow_bits: int = 0
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    header: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Style:
    """How results are stored.

    Args:
        depth: one of deep.DEPTHS, "" for the usual one of the format.
        linear: the photographs' values are linear light, and results hold them as they are.
        premultiplied: colours are multiplied with alpha.
        exif: keep EXIF, without the place and serial numbers.
        suffix: of results whose names are not given.
        quality: of JPEG files, 1..100.
    """

    depth: str = ""
    linear: bool = False
    premultiplied: bool = False
    exif: bool = False
    suffix: str = ".png"
    quality: int = 95

    def check(self, name: str | Path, alpha: bool) -> None:
        """Check that a result with that name can be written.

        Args:
            name: only its suffix counts.
            alpha: whether it has alpha.

        Raises:
            PictureError: it cannot.
        """
        pictures.check_writable(name, alpha)
        if self.depth or self.premultiplied:
            usual = deep.DEPTHS_BY_SUFFIX.get(Path(name).suffix.lower(), ("8",))[0]
            deep.check_depth(name, self.depth or usual, self.premultiplied)

    def depth_of(self, name: str | Path, photograph: Photograph) -> str:
        """Return a result's depth: `depth`, else the format's usual one, or "float" for EXR of "float"."""
        if self.depth:
            return self.depth
        held = deep.DEPTHS_BY_SUFFIX.get(Path(name).suffix.lower(), ("8",))
        return "float" if held[0] == "half" and photograph.depth == "float" else held[0]

    def reads_deep(self, name: str | Path) -> bool:
        """Return whether a result with that name holds more than 8 bits."""
        return self.depth not in ("", "8") or self.linear or Path(name).suffix.lower() == ".exr"


DEFAULT_STYLE = Style()


def read(path: str | Path, content: bytes | None = None, style: Style = DEFAULT_STYLE, name: str | Path = ""
         ) -> Photograph:
    """Read a picture file.

    Args:
        path: the file, or only its name where `content` is given.
        content: the file's bytes.
        style, name: of the result; native colours are read in full depth only if it holds that depth.

    Raises:
        PictureError: as `pictures.read`; or full depth needs a package that is missing.
    """
    start = _read_start(path, content)
    if start.startswith(deep.EXR_SIGNATURE):
        photograph = _of_samples(deep.read(path, content), 1)
        photograph.srgb = _encode_light(photograph.native)
        return photograph
    with pictures.open_picture(path, content) as image:
        plain = pictures.eight_bit(image)
        srgb = pictures.floats(pictures.srgb(image))
        dpi, icc = image.info.get("dpi"), image.info.get("icc_profile")
        exif = _filter_exif(image) if style.exif else None
        native, turned = _native_levels(plain, icc), image.info.get("turned", 1)
        shallow = image.format == "TIFF" and max(image.tag_v2.get(Base.BitsPerSample, (1,))) <= 8
    photograph = Photograph(srgb, srgb)
    if style.reads_deep(name) and deep.is_deep(start) and not shallow:
        photograph = replace(_of_samples(deep.read(path, content), turned), srgb=srgb)
    elif native is not None:
        photograph.native = srgb if torch.equal(native, srgb) else native
    photograph.icc = photograph.icc or (icc if native is not None else None)
    photograph.dpi, photograph.exif = _valid_resolution(dpi) or photograph.dpi, exif
    photograph.narrow_bits = plain.info.get("narrow", 0)
    if style.linear:
        photograph.linear = True
        photograph.srgb = _encode_light(photograph.native)
    return photograph


def encode(name: str | Path, picture: Tensor, photograph: Photograph, style: Style, *, native: bool = True
           ) -> bytes:
    """Encode a result.

    Args:
        name: its suffix chooses the format, see pictures.WRITERS and deep.DEPTHS_BY_SUFFIX.
        picture: float [1,H,W,C], C 1, 3 or 4 (straight), in the colours of `colours_for`.
        photograph: what the result is made from; profile, resolution and EXIF are taken from it.
        style: how it is stored.
        native: whether its colours are the photograph's native ones, which its profile describes.

    Raises:
        PictureError: the format does not hold it.
    """
    depth = style.depth_of(name, photograph)
    icc = photograph.icc if native and picture.shape[-1] > 1 else None
    if depth == "8" and not style.premultiplied:
        return pictures.encode(name, picture, icc=icc, dpi=photograph.dpi, exif=photograph.exif,
                               quality=style.quality)
    return deep.encode(name, picture[0].float().cpu().numpy(), depth,
                       premultiplied=style.premultiplied, icc=icc, dpi=photograph.dpi, exif=photograph.exif,
                       header=photograph.header)


def colours_for(name: str | Path, photograph: Photograph, style: Style) -> Tensor:
    """Return the photograph's colours for a result with that name, [1,H,W,C].

    These are its native values, unless the format needs others: linear light in EXR files, sRGB in all
    others. With `style.linear` they are always the native ones.
    """
    if style.linear or photograph.linear == holds_light(name, photograph, style):
        return photograph.native
    convert = to_srgb if photograph.linear else to_linear
    source = photograph.native
    if photograph.linear:
        source = source.clamp(0, 1)
    elif photograph.icc:
        source = photograph.srgb
    return torch.cat([convert(source[..., :3].nan_to_num()), source[..., 3:]], dim=-1)


def holds_light(name: str | Path, photograph: Photograph, style: Style) -> bool:
    """Return whether a result with that name holds linear light."""
    if style.linear or Path(name).suffix.lower() == ".exr":
        return True
    return photograph.linear and style.depth in ("half", "float")


def _of_samples(samples: deep.Samples, turned: int) -> Photograph:
    """Make a photograph of samples in full depth. turned: the EXIF orientation that Pillow found, else 1."""
    native = deep.turn_upright(samples.to_float(), samples.orientation if turned == 1 else turned)
    alpha = native[..., -1:] if native.shape[-1] in (2, 4) else native[..., :0]
    colours = native[..., :3] if native.shape[-1] > 2 else native[..., :1].repeat(3, axis=-1)
    values = torch.from_numpy(np.concatenate([colours, alpha], axis=-1))[None]
    return Photograph(values, values, samples.linear, samples.depth, icc=samples.icc, dpi=samples.dpi,
                      header=samples.header)


def _encode_light(light: Tensor) -> Tensor:
    """Convert linear light [1,H,W,C] to the sRGB values that networks get."""
    colours = torch.from_numpy(deep.encode_srgb(light[..., :3].numpy()))
    return torch.cat([colours, light[..., 3:].nan_to_num().clamp(0, 1)], dim=-1)


def _native_levels(image: Image.Image, icc: bytes | None) -> Tensor | None:
    """Return the values of an 8-bit RGB picture with an RGB profile; None for others, which are converted."""
    if not icc or image.mode not in ("RGB", "RGBA", "P", "PA"):
        return None
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space.strip()
    except (ImageCms.PyCMSError, OSError):
        return None
    if space != "RGB":
        return None
    return pictures.floats(image.convert("RGBA" if pictures.has_alpha(image) else "RGB"))


def _read_start(path: str | Path, content: bytes | None) -> bytes:
    """Read the first bytes; b"" for a file that cannot be read, for which `pictures` raises the error."""
    if content is not None:
        return content[:32]
    try:
        with open(path, "rb") as file:
            return file.read(32)
    except OSError:
        return b""


def _valid_resolution(dpi: object) -> tuple[float, float] | None:
    """Return Pillow's dots per inch if they are two positive finite numbers, else None."""
    try:
        x, y = map(float, dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if x > 0 and y > 0 and x * y < float("inf") else None


def _filter_exif(image: Image.Image) -> bytes | None:
    """Copy EXIF without place, serial numbers, thumbnail and orientation; the result is upright."""
    try:
        source = image.getexif()
        kept = Image.Exif()
        for tag in EXIF_KEPT:
            if tag in source:
                kept[tag] = source[tag]
        details = {tag: value for tag, value in source.get_ifd(IFD.Exif).items() if tag not in EXIF_SECRET}
        details.pop(Base.ExifInteroperabilityOffset, None)
        if details:
            kept.get_ifd(IFD.Exif).update(details)
        return kept.tobytes() if len(kept) or details else None
    except Exception:  # damaged EXIF is never a reason to refuse a picture
        return None
