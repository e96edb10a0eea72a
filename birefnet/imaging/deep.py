"""Samples deeper than 8 bits: 16-bit PNG, TIFF of every depth, OpenEXR.

Pillow keeps only 8 bits of colour, so such files are read and written by imagecodecs, tifffile and OpenEXR,
optional packages that are imported on use.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from ..files.errors import PictureError, PicturePackageError
from .levels import to_levels

EXR_SIGNATURE = b"\x76\x2f\x31\x01"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTHS = ("8", "16", "half", "float")  # of the samples that are written
# The depths that each suffix can hold; the first is the usual one.
DEPTHS_BY_SUFFIX = {".png": ("8", "16"), ".tif": DEPTHS, ".tiff": DEPTHS, ".exr": ("half", "float")}
UNIT_INCH, CENTIMETRES_PER_INCH = 2, 2.54  # a TIFF's ResolutionUnit for inches, and its conversion
ALPHA_KIND = "alphaType"  # attribute of an EXR file; without it, PREMULTIPLIED is the convention
STRAIGHT, PREMULTIPLIED = "straight", "premultiplied"
# Attributes that describe how an EXR file is stored, so they are not copied to another.
STORAGE = {"channels", "chunkCount", "compression", "dwaCompressionLevel", "envmap", "lineOrder",
           "maxSamplesPerPixel", "multiView", "name", "preview", "tiles", "type", "version", "view",
           ALPHA_KIND}
# Cameras and scanners of 10 and 12 bits store their values in the lower bits of 16; read as 16 bits, even
# white would be nearly black. If no value reaches MIN_NARROW_VALUE, 16 bits are assumed, so that a dark frame
# stays dark.
NARROW_BITS = (10, 12)
MIN_NARROW_VALUE = 256


@dataclass(frozen=True)
class Samples:
    """A decoded picture, turned as it is stored; see `orientation`.

    Args:
        values: [H,W,C] in the file's own type; C 1 or 3, with alpha 2 or 4.
        bits: bits that integers use.
        premultiplied: whether colours are multiplied with alpha.
        linear: whether values are proportional to light.
        depth: the one of DEPTHS that holds them.
        orientation: EXIF's, 1..8.
        icc: an ICC profile.
        dpi: horizontal and vertical dots per inch.
        header: attributes of an EXR file that another file may keep.
    """

    values: np.ndarray
    bits: int = 16
    premultiplied: bool = False
    linear: bool = False
    depth: str = "16"
    orientation: int = 1
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    header: Mapping[str, object] = field(default_factory=dict)

    def to_float(self) -> np.ndarray:
        """Return float32 values [H,W,C]: integers scaled to 0..1, floats as they are, alpha straight."""
        values = self.values.astype(np.float32)
        if self.values.dtype.kind == "u":
            values /= np.float32(2**self.bits - 1)
        if self.premultiplied and values.shape[-1] in (2, 4):
            colours, alpha = values[..., :-1].copy(), values[..., -1:]
            values[..., :-1] = np.divide(colours, alpha, out=colours, where=alpha > 0)
        return values

    def eight_bit(self, name: str | Path) -> Image.Image:
        """Convert to an upright Pillow image of mode L, LA, RGB or RGBA; linear values become sRGB.

        Raises:
            PictureError: floats are not in 0..1; `name` is the file's in the message.
        """
        values = turn_upright(self.to_float(), self.orientation)
        colours = values.shape[-1] - (values.shape[-1] in (2, 4))
        if self.linear:
            values[..., :colours] = encode_srgb(values[..., :colours])
        elif self.values.dtype.kind == "f" and np.median(values[..., :colours]) > 1:
            raise PictureError(f"{name}: expected floats in 0..1, got values up to {np.nanmax(values):g}")
        levels = to_levels(np.nan_to_num(values))
        image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
        if self.icc:
            image.info["icc_profile"] = self.icc
        if self.dpi:
            image.info["dpi"] = self.dpi
        return image


def turn_upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn [H,W,C] upright from an EXIF orientation."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Convert linear light to sRGB values in 0..1 (IEC 61966-2-1), in NumPy: reading needs no kornia."""
    light = np.clip(np.nan_to_num(linear), 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def used_bits(values: np.ndarray, bits: int) -> int:
    """Find the bits that integers of 16 bits use: 16, or one of NARROW_BITS; other `bits` are returned."""
    if bits != 16 or not values.size:
        return bits
    largest = int(values.max())
    if largest < MIN_NARROW_VALUE:
        return bits
    return next((narrow for narrow in NARROW_BITS if largest < 1 << narrow), bits)


def can_read_exr() -> bool:
    """Return whether the package OpenEXR is installed."""
    return importlib.util.find_spec("OpenEXR") is not None


def is_deep(content: bytes) -> bool:
    """Return whether a file may hold more bits than the 8 that Pillow keeps: EXR, TIFF, PNG of 16 bits."""
    if content.startswith(PNG_SIGNATURE):
        return content[24:25] == b"\x10" and content[25:26] != b"\x03"
    return content.startswith((EXR_SIGNATURE, *TIFF_SIGNATURES))


def read(name: str | Path, content: bytes | None = None) -> Samples:
    """Decode a file for which `is_deep` holds. content: its bytes, read unless they are given.

    Raises:
        PictureError: it is damaged or of a kind that is not read, or a package is missing.
    """
    content = Path(name).read_bytes() if content is None else content
    if content.startswith(EXR_SIGNATURE):
        return _read_exr(name, content)
    return _read_png(name, content) if content.startswith(PNG_SIGNATURE) else read_tiff(name, content)


def encode(name: str | Path, values: np.ndarray, depth: str, *, premultiplied: bool = False,
           icc: bytes | None = None, dpi: tuple[float, float] | None = None, exif: bytes | None = None,
           header: Mapping[str, object] | None = None) -> bytes:
    """Encode a file.

    Args:
        name: its suffix chooses the format, see DEPTHS_BY_SUFFIX.
        values: float32 [H,W,C], C 1, 3, or 4 with straight alpha; in 0..1 if they become integers.
        depth: one of DEPTHS that the format holds.
        premultiplied: multiply the colours with alpha, and mark the file so.
        icc, dpi, exif: kept in PNG and TIFF; a TIFF keeps the text entries of EXIF's first directory.
        header: attributes for EXR.

    Raises:
        PictureError: a package is missing, or the format does not hold this.
    """
    suffix = Path(name).suffix.lower()
    check_depth(name, depth, premultiplied)
    if premultiplied and values.shape[-1] == 4:
        values = np.concatenate([values[..., :3] * values[..., 3:], values[..., 3:]], axis=-1)
    if depth in ("8", "16"):
        most, kind = (255, np.uint8) if depth == "8" else (65535, np.uint16)
        samples = np.rint(np.clip(np.nan_to_num(values), 0, 1) * np.float32(most)).astype(kind)
    else:
        limit = np.finfo(np.float16).max if depth == "half" else np.inf
        samples = np.clip(values, -limit, limit).astype(np.float16 if depth == "half" else np.float32)
    if suffix == ".exr":
        return _encode_exr(samples, premultiplied, header or {})
    if suffix == ".png":
        return _encode_png(samples, icc, dpi, exif)
    return _encode_tiff(samples, premultiplied, icc, dpi, exif)


def check_depth(name: str | Path, depth: str, premultiplied: bool) -> None:
    """Check that a file with that name can hold this depth, and premultiplied colours if asked for.

    Raises:
        PictureError: it cannot.
    """
    suffix = Path(name).suffix.lower()
    held = DEPTHS_BY_SUFFIX.get(suffix, ("8",))
    if depth not in held:
        others = ", ".join(key for key, depths in DEPTHS_BY_SUFFIX.items() if depth in depths)
        raise PictureError(f"{name}: take depth {' or '.join(held)}, which {suffix} files hold, or another "
                           f"format ({others})")
    if premultiplied and suffix not in (".tif", ".tiff", ".exr"):
        raise PictureError(f"{name}: use .tif or .exr for premultiplied colours; alpha of {suffix} files is "
                           "straight")


def _import_optional(module: str, packages: str, what: str) -> ModuleType:
    """Import a module, or raise a PicturePackageError that says which packages to install, and for what."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PicturePackageError(f"Install {packages.replace(' ', ' and ')} {what}: pip install {packages} "
                                  f"({error})") from None


@contextlib.contextmanager
def _explain_errors(name: str | Path) -> Iterator[None]:
    """Convert a decoder's errors, nearly any type on damaged data, to PictureError."""
    try:
        yield
    except (PictureError, MemoryError):
        raise
    except Exception as error:
        raise PictureError(f"{name}: damaged or not supported ({error})") from None


def _read_png(name: str | Path, content: bytes) -> Samples:
    codec = _import_optional("imagecodecs", "imagecodecs", "to read all 16 bits of a PNG")
    with _explain_errors(name):
        values = codec.png_decode(content)
    values = values[..., None] if values.ndim == 2 else values
    return Samples(values, used_bits(values, 16) if values.shape[-1] == 1 else 16)


def read_tiff(name: str | Path, content: bytes) -> Samples:
    """Decode the first page of a TIFF; raises PictureError."""
    tifffile = _import_optional("tifffile", "tifffile imagecodecs", "to read this kind of TIFF")
    with _explain_errors(name), tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        if page.photometric not in (0, 1, 2) or page.bitspersample not in (8, 16, 32):
            kind = getattr(page.photometric, "name", page.photometric)
            raise PictureError(f"{name}: save it as grey or RGB of 8, 16 or 32 bits; this TIFF is {kind} of "
                               f"{page.bitspersample}")
        values = page.asarray()
        if page.samplesperpixel == 1:
            values = values.reshape(page.imagelength, page.imagewidth, 1)
        elif page.planarconfig == 2:
            planes = values.reshape(page.samplesperpixel, page.imagelength, page.imagewidth)
            values = np.moveaxis(planes, 0, -1)
        colours = 3 if page.photometric == 2 else 1
        kind = int(page.extrasamples[0]) if page.extrasamples else 0
        values = values[..., :colours + (values.shape[-1] > colours and kind in (1, 2))]
        if values.dtype.kind == "i":
            values = values.view(values.dtype.str.replace("i", "u"))
        bits = used_bits(values, page.bitspersample) if colours == 1 else page.bitspersample
        if page.photometric == 0:
            white = 1 if values.dtype.kind == "f" else 2**bits - 1
            values = np.array(white, values.dtype) - values
        tag = page.tags.get("Orientation")
        depth = {"f2": "half", "f4": "float", "u1": "8"}.get(values.dtype.str[1:], "16")
        return Samples(values, bits, premultiplied=kind == 1 and values.shape[-1] in (2, 4), depth=depth,
                       orientation=1 if tag is None else int(tag.value), icc=page.iccprofile,
                       dpi=_read_resolution(page))


def _read_resolution(page) -> tuple[float, float] | None:
    """Read the dots per inch of a TIFF page, horizontal and vertical."""
    values = [page.tags.get(name) for name in ("XResolution", "YResolution", "ResolutionUnit")]
    if any(value is None for value in values) or int(values[2].value) not in (2, 3):
        return None
    scale = 1 if int(values[2].value) == UNIT_INCH else CENTIMETRES_PER_INCH
    x, y = (value.value[0] / max(value.value[1], 1) * scale for value in values[:2])
    return x, y


def _read_exr(name: str | Path, content: bytes) -> Samples:
    library = _import_optional("OpenEXR", "OpenEXR", "to read EXR files")
    with _explain_errors(name), _on_disk(content) as path, library.File(path, separate_channels=True) as file:
        part, names = _find_channels(name, file.parts)
        planes = [part.channels[channel].pixels for channel in names]
        halves = all(plane.dtype == np.float16 for plane in planes)
        header = {key: value for key, value in part.header.items() if key not in STORAGE}
        straight = part.header.get(ALPHA_KIND) == STRAIGHT
        values = np.stack([plane.astype(np.float32) for plane in planes], axis=-1)
    return Samples(values, premultiplied=not straight, linear=True, depth="half" if halves else "float",
                   header=header)


def _find_channels(name: str | Path, parts: list) -> tuple[object, list[str]]:
    """Find the first part of an EXR file with colours or grey, and its channels in order."""
    for part in parts:
        if "deep" in str(part.header.get("type", "")):
            continue
        channels = set(part.channels)
        layers = {channel.rpartition(".")[0] for channel in channels if channel.rpartition(".")[2] == "R"}
        for start in [""] + [f"{layer}." for layer in sorted(layers) if layer]:
            differences = {start + "RY", start + "BY"} & channels
            for wanted in ("RGB", "Y"):
                if {start + one for one in wanted} <= channels and not differences:
                    alpha = [start + "A"] if start + "A" in channels else []
                    return part, [*(start + one for one in wanted), *alpha]
    found = ", ".join(sorted(channel for part in parts for channel in part.channels)[:8])
    raise PictureError(f"{name}: expected channels R, G, B or Y in a flat EXR file, got {found or 'none'}")


@contextlib.contextmanager
def _on_disk(content: bytes) -> Iterator[str]:
    """Put bytes into a temporary file, as the library reads and writes only files; yields its path."""
    descriptor, path = tempfile.mkstemp(suffix=".exr")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        yield path
    finally:
        os.unlink(path)


def _encode_exr(samples: np.ndarray, premultiplied: bool, header: Mapping[str, object]) -> bytes:
    library = _import_optional("OpenEXR", "OpenEXR", "to write EXR files")
    height, width, count = samples.shape
    names = ("Y",) if count == 1 else "RGBA"[:count]
    kept = {**header, "compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    low, high = kept.get("dataWindow", ((0, 0), (-1, -1)))
    if (high[0] - low[0] + 1, high[1] - low[1] + 1) != (width, height):  # resized, or cropped
        kept.pop("dataWindow", None), kept.pop("displayWindow", None)
    if count == 4:
        kept[ALPHA_KIND] = PREMULTIPLIED if premultiplied else STRAIGHT
    channels = {name: np.ascontiguousarray(samples[..., i]) for i, name in enumerate(names)}
    with _on_disk(b"") as path:
        with library.File(kept, channels) as file:
            file.write(path)
        return Path(path).read_bytes()


def _encode_png(samples: np.ndarray, icc: bytes | None, dpi: tuple[float, float] | None, exif: bytes | None
                ) -> bytes:
    """Encode a file with imagecodecs, and add Pillow's chunks for profile, dots per inch and EXIF."""
    codec = _import_optional("imagecodecs", "imagecodecs", "to write PNG of 16 bits")
    content = codec.png_encode(samples[..., 0] if samples.shape[-1] == 1 else samples)
    options = {key: value for key, value in (("icc_profile", icc), ("dpi", dpi), ("exif", exif)) if value}
    if not options:
        return content
    pattern = io.BytesIO()  # the chunks between its header (8 + 25 bytes) and its data are copied
    Image.new("L", (1, 1)).save(pattern, "PNG", **options)
    extra = pattern.getvalue()[33:]
    return content[:33] + extra[:extra.index(b"IDAT") - 4] + content[33:]


def _encode_tiff(samples: np.ndarray, premultiplied: bool, icc: bytes | None, dpi: tuple[float, float] | None,
                 exif: bytes | None) -> bytes:
    tifffile = _import_optional("tifffile", "tifffile imagecodecs", "to write TIFF of more than 8 bits")
    encoded = io.BytesIO()
    grey = samples.shape[-1] == 1
    alpha = ["assocalpha" if premultiplied else "unassalpha"] if samples.shape[-1] == 4 else None
    first = Image.Exif()
    if exif:
        first.load(exif)
    texts = [(tag, "s", 0, text, True) for tag, text in sorted(first.items()) if isinstance(text, str)]
    try:
        tifffile.imwrite(encoded, samples[..., 0] if grey else samples, extrasamples=alpha,
                         photometric="minisblack" if grey else "rgb", compression="adobe_deflate",
                         iccprofile=icc, metadata=None, software=False, extratags=texts,
                         **({"resolution": dpi, "resolutionunit": "INCH"} if dpi else {}))
    except ValueError as error:  # without imagecodecs
        raise PictureError("pip install tifffile imagecodecs to write TIFF of more than 8 bits "
                           f"({error})") from None
    return encoded.getvalue()
