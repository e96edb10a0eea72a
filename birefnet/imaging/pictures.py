"""Picture files: read upright into sRGB floats, written completely or not at all."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

from ..files.atomic import atomic_write
from ..files.errors import PictureError, why_not_read
from . import deep
from .colour import to_linear
from .levels import HALF_LEVEL, to_levels

if TYPE_CHECKING:  # else imported where it is used: processes that only score pictures do without it
    import torch

# Formats that are read. Left out are those that are no pictures, and those that Pillow passes to other
# programs (EPS to Ghostscript).
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "MPO", "PNG", "PPM", "PSD", "TGA", "TIFF",
           "WEBP")

# Formats that a Pillow plug-in reads: its module, the package to install, and the suffixes.
PLUGINS = {"HEIF": ("pillow_heif", "pillow-heif", (".heic", ".heif", ".hif")),
           "JXL": ("pillow_jxl", "pillow-jxl-plugin", (".jxl",))}
RAW_SUFFIXES = frozenset((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"))  # camera raw files

# suffix → format that is written, and Pillow's options for it.
WRITERS = {
    ".png": ("PNG", {"compress_level": 4}),  # half the time of the default 6, for 5 % more bytes
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".jpg": ("JPEG", {}),
    ".jpeg": ("JPEG", {}),
    ".exr": ("EXR", {}),  # by `deep`
}


@functools.cache
def register_plugins() -> None:
    """Register the installed ones of PLUGINS with Pillow."""
    Image.init()
    for module, _, _ in PLUGINS.values():
        with contextlib.suppress(ImportError, OSError):  # the plug-in or its library is missing
            plugin = importlib.import_module(module)
            if hasattr(plugin, "register_heif_opener"):
                plugin.register_heif_opener()


def why_unreadable(suffix: str) -> str:
    """Say in a few words what to do about a suffix (".heic"); "" if it is read, or not a picture's."""
    if suffix in suffixes():
        return ""
    for _, package, endings in PLUGINS.values():
        if suffix in endings:
            return f"pip install {package} to read {suffix[1:].upper()} files"
    if suffix == ".avif":
        return "update Pillow to 11.3 or newer to read AVIF files"
    if suffix in RAW_SUFFIXES:
        return "develop this camera's raw file to TIFF or JPEG first"
    return "pip install OpenEXR to read EXR files" if suffix == ".exr" else ""


def suffixes() -> frozenset[str]:
    """Return the lower-case suffixes (".jpg") of files that `read` can be expected to read."""
    register_plugins()
    found = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
    return frozenset(found | {".exr"} if deep.can_read_exr() else found)


def read(path: str | Path, content: bytes | None = None) -> torch.Tensor:
    """Read the first frame of a picture file.

    EXIF orientation and an embedded ICC profile are applied; samples deeper than 8 bits are scaled to 8, and
    OpenEXR's linear light is converted to sRGB.

    Args:
        path: the file, or only its name where `content` is given.
        content: the file's bytes.

    Returns:
        float32 [1,H,W,C], sRGB in 0..1, upright; C is 3, or 4 where the file has alpha, which is straight.

    Raises:
        PictureError: the file is no complete, readable picture.
    """
    with open_picture(path, content) as image:
        return floats(srgb(image))


def read_frames(path: str | Path) -> Iterator[tuple[int, torch.Tensor]]:
    """Read an animation frame by frame, in constant memory.

    Yields:
        Each frame's duration in milliseconds, and the frame as `read` gives it, [H,W,C].

    Raises:
        PictureError: the file is no complete, readable picture.
    """
    with open_picture(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()  # WebP knows the frame's duration only after this
            yield round(image.info.get("duration", 0)), floats(srgb(image))[0]


def is_animated(content: bytes) -> bool:
    """Return whether the bytes of a GIF, WebP or PNG file hold more than the frame that `read` gives."""
    try:
        with Image.open(io.BytesIO(content), formats=("GIF", "WEBP", "PNG")) as image:
            return getattr(image, "is_animated", False)
    except Exception:  # another format, or damaged in any way, as in `open_picture`
        return False


def read_to_cover(path: str | Path, height: int, width: int, content: bytes | None = None) -> torch.Tensor:
    """Read a picture like `read`, scaled to cover height × width pixels and cropped around its centre.

    Returns:
        float32 [1,height,width,C] in 0..1, C 3 or 4.

    Raises:
        PictureError: the file is no complete, readable picture.
    """
    with open_picture(path, content) as image:
        return floats(ImageOps.fit(srgb(image), (width, height), Image.Resampling.LANCZOS))


def cutout(image: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Combine colours with a new alpha.

    Args:
        image: float [B,H,W,3 or 4] in 0..1; a fourth channel is ignored.
        alpha: float [B,H,W] in 0..1.

    Returns:
        Straight RGBA [B,H,W,4] in 0..1. Colours are black where alpha would be stored as 0 in 8 bits, so that
        what was removed cannot be recovered from the file.
    """
    import torch

    alpha = alpha[..., None].to(image)
    return torch.cat([torch.where(alpha > HALF_LEVEL, image[..., :3], 0.0), alpha], dim=-1)


def over(front: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """Composite one picture over another: "over" (Porter and Duff 1984), on the stored values, not in linear
    light.

    Args:
        front: straight RGBA [B,H,W,4] in 0..1.
        back: RGB or straight RGBA [B,H,W,3 or 4] in 0..1.

    Returns:
        As many channels as `back`, in 0..1.
    """
    import torch

    colour, alpha = front[..., :3], front[..., 3:]
    if back.shape[-1] == 3:
        return colour * alpha + back * (1 - alpha)
    behind = back[..., 3:] * (1 - alpha)
    total = alpha + behind
    return torch.cat([(colour * alpha + back[..., :3] * behind) / total.clamp(min=1e-6), total], dim=-1)


def check_writable(path: str | Path, alpha: bool) -> None:
    """Check that a picture can be written under a name.

    Args:
        path: only its suffix counts.
        alpha: whether the picture has alpha.

    Raises:
        PictureError: the suffix names no format that is written, or one without alpha for a picture with
            alpha.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise PictureError(f"{path}: expected a name that ends in {', '.join(WRITERS)}, got "
                           f"{suffix or 'no suffix'}")
    if alpha and WRITERS[suffix][0] == "JPEG":
        raise PictureError(f"{path}: JPEG has no transparency; use .png or .webp, or ask for the mask or an "
                           "opaque background")


def write(path: str | Path, picture: torch.Tensor, *, force: bool = False) -> None:
    """Write a picture as an 8-bit file, completely or not at all; missing folders are created.

    Args:
        path: the suffix chooses the format, see WRITERS.
        picture: float [1,H,W,C] in 0..1, C 1 (grey), 3 (RGB) or 4 (straight RGBA).
        force: replace an existing file.

    Raises:
        FileExistsError: `path` exists and `force` is not set.
        OSError: the file cannot be written.
        PictureError: as `check_writable`.
    """
    write_file(path, encode(path, picture), force=force)


def encode(path: str | Path, picture: torch.Tensor, *, icc: bytes | None = None,
           dpi: tuple[float, float] | None = None, exif: bytes | None = None, quality: int = 95) -> bytes:
    """Encode the file that `write` would write.

    Args:
        path: only its suffix counts, see WRITERS.
        picture: float [1,H,W,C] in 0..1, C 1 (grey), 3 (RGB) or 4 (straight RGBA).
        icc, dpi, exif: kept in the file, where its format can hold them; a TIFF keeps EXIF's first directory.
        quality: of a JPEG file, 1..100.

    Raises:
        PictureError: as `check_writable`; or OpenEXR is missing.
    """
    import torch

    check_writable(path, alpha=picture.shape[-1] == 4)
    name, options = WRITERS[Path(path).suffix.lower()]
    if name == "EXR":
        colours = to_linear(picture[..., :3]) if picture.shape[-1] > 1 else picture
        light = torch.cat([colours, picture[..., 3:]], dim=-1)
        return deep.encode(path, light[0].float().cpu().numpy(), "half")
    if exif and name == "TIFF":  # libtiff writes no second directory
        first = Image.Exif()
        first.load(exif)
        del first[Base.ExifOffset]
        exif = first
    asked = {"icc_profile": icc, "dpi": dpi, "exif": exif, "quality": quality if name == "JPEG" else 0}
    options = {**options, **{key: value for key, value in asked.items() if value}}
    levels = to_levels(picture[0].nan_to_num())
    image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    # In memory first: Pillow writes some formats without Python, and reports no error when the disk is full.
    encoded = io.BytesIO()
    image.save(encoded, format=name, **options)
    return encoded.getvalue()


def write_file(path: str | Path, content: bytes, *, force: bool = False) -> None:
    """Write bytes as a file, completely or not at all; missing folders are created.

    Raises:
        FileExistsError: `path` exists and `force` is not set.
        OSError: the file cannot be written.
    """
    with atomic_write(Path(path)) as part:
        part.path.write_bytes(content)
        part.keep(new=not force)


def floats(image: Image.Image) -> torch.Tensor:
    """Convert an RGB or RGBA picture to float32 [1,H,W,C] in 0..1."""
    import torch

    values = np.array(image, dtype=np.float32)
    values /= 255
    return torch.from_numpy(values)[None]


@contextlib.contextmanager
def open_picture(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open a picture file: its first frame, decoded and upright, as Pillow gives it.

    Any error, here or in the `with` block, becomes a `PictureError`: decoders raise nearly every type of
    exception on damaged data.

    Args:
        path: the file, or only its name where `content` is given.
        content: the file's bytes.
    """
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
    file = path if content is None else io.BytesIO(content)
    try:
        if not content and (content is not None or Path(path).is_file() and Path(path).stat().st_size == 0):
            raise PictureError(f"{path}: the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata
            register_plugins()
            with _open(file, path, content) as image:
                image.load()
                _turn_upright(image)
                image.filename = path  # for error messages
                yield image
    except PictureError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise PictureError(f"{path}: {why_not_read(error, 'a picture file')}") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{path}: larger than the limit of {limit} megapixels; scale it down first"
                           ) from None
    except UnidentifiedImageError:
        if reason := why_unreadable(Path(path).suffix.lower()):
            raise PictureError(f"{path}: {reason}") from None
        kinds = ", ".join(FORMATS)
        raise PictureError(f"{path}: expected a picture ({kinds}), got something else or a damaged file"
                           ) from None
    except MemoryError:
        raise PictureError(f"{path}: not enough memory to read it") from None
    except Exception as error:
        raise PictureError(f"{path}: damaged or not supported ({error})") from None


def _open(file: str | Path | io.BytesIO, path: str | Path, content: bytes | None) -> Image.Image:
    """Open the file with Pillow, or with `deep` if Pillow does not read it: OpenEXR, TIFF of several float
    samples, deep TIFF in planes."""
    try:
        image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
        if image.format != "TIFF" or not _has_deep_planes(image):
            return image
    except UnidentifiedImageError:
        if why_unreadable(Path(path).suffix.lower()):
            raise
        with contextlib.nullcontext(file) if content is not None else open(path, "rb") as start:
            start.seek(0)
            if not start.read(4).startswith((deep.EXR_SIGNATURE, *deep.TIFF_SIGNATURES)):
                raise
    return deep.read(path, content).eight_bit(path)


def _has_deep_planes(image: Image.Image) -> bool:
    """Return whether a TIFF has separate planes of more than 8 bits, which Pillow decodes wrongly."""
    bits = max(image.tag_v2.get(Base.BitsPerSample, (1,)))
    return bits > 8 and image.tag_v2.get(Base.PlanarConfiguration) == 2 and len(image.getbands()) > 1


def _turn_upright(image: Image.Image) -> None:
    """Turn a picture as its EXIF orientation asks; damaged EXIF data is never a reason to refuse it."""
    if image.format != "TIFF":  # which Pillow turns while loading; some versions leave the tag in place
        with contextlib.suppress(Exception):
            turned = image.getexif().get(Base.Orientation, 1)
            ImageOps.exif_transpose(image, in_place=True)
            image.info["turned"] = turned


def has_alpha(image: Image.Image) -> bool:
    """Return whether a picture has alpha or a transparent colour."""
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def srgb(image: Image.Image) -> Image.Image:
    """Convert any mode that Pillow decodes to RGB or RGBA in sRGB."""
    profile = image.info.get("icc_profile")
    image = eight_bit(image)
    if not has_alpha(image):
        return _convert_to_srgb(image, profile)
    layers = image.convert("RGBA")
    grey = image.mode in ("L", "LA")
    colours = _convert_to_srgb(layers.getchannel("R") if grey else layers.convert("RGB"), profile)
    colours.putalpha(layers.getchannel("A"))
    return colours


def eight_bit(image: Image.Image) -> Image.Image:
    """Scale deep grey to 8 bits; Pillow's own conversion clips at 255. Others are returned unchanged.

    Deep colour needs no scaling: Pillow keeps the upper 8 of its 16 bits when it decodes.

    Raises:
        PictureError: floats are not in 0..1.
    """
    tags = image.tag_v2 if image.format == "TIFF" else {}
    bits, narrow = max(tags.get(Base.BitsPerSample, (16,))), 0
    if image.mode == "F":
        values = np.asarray(image)
        if np.median(values) > 1:
            raise PictureError(f"{image.filename}: expected floats in 0..1, got values up to "
                               f"{np.max(values):g}")
        shares = np.nan_to_num(values)
    elif image.mode.startswith("I"):
        values = np.asarray(image)
        used = deep.used_bits(values, bits)
        shares = (values.view(np.uint32) if bits == 32 else values) / (2.0**used - 1)
        narrow = used if used != bits else 0
    else:
        return image
    if tags.get(Base.PhotometricInterpretation) == 0:  # white is zero
        shares = 1 - shares
    grey = Image.fromarray(to_levels(shares))
    grey.info["narrow"] = narrow  # bits that the samples really use
    key = image.info.get("transparency")
    if key is not None:
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a picture without alpha to sRGB; ignores a damaged profile, or one for other channels."""
    target = ImageCms.createProfile("sRGB")
    try:
        if image.mode == "LAB":
            return ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"), target, outputMode="RGB")
        if profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = source.profile.xcolor_space.strip()
            if space == "RGB" and image.mode != "CMYK":
                image = image.convert("RGB")
            if (space, image.mode) in (("RGB", "RGB"), ("GRAY", "L"), ("CMYK", "CMYK")):
                return ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        pass
    return image.convert("RGB")
