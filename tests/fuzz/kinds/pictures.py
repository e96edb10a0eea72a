"""Picture files and masks: damaged bytes of every format, and every mode, size and metadata that Pillow
writes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from .kind import Bytes, Kind


def refusals() -> tuple[type[BaseException], ...]:
    from birefnet.imaging.pictures import PictureError

    return (PictureError,)


def start(folder: Path):
    from birefnet.evaluation.run import read_grey
    from birefnet.imaging import pictures

    path = folder / "a.png"
    pictures.read(Path(__file__).parents[2] / "data" / "astronaut_mask.png")  # warm: Pillow's plugins

    def read(content: bytes) -> None:
        path.write_bytes(content)
        small = pictures.read_to_cover(path, 8, 9)
        assert small.shape[:3] == (1, 8, 9) and small.shape[3] in (3, 4)
        assert 0 <= small.min() and small.max() <= 1  # NaN is neither
        read_grey(path)

    return read


# Pictures as Pillow writes them
# ---------------------------------------------------------------------------------------


MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "I;16",
    "I;16B",
    "F",
)
# Without AVIF, of which there is a seed: Pillow 13 itself crashes when it writes small animated ones.
FORMATS = (
    "BMP",
    "DDS",
    "DIB",
    "EPS",
    "GIF",
    "ICNS",
    "ICO",
    "IM",
    "JPEG",
    "JPEG2000",
    "MPO",
    "MSP",
    "PCX",
    "PDF",
    "PNG",
    "PPM",
    "QOI",
    "SGI",
    "SPIDER",
    "TGA",
    "TIFF",
    "WEBP",
    "XBM",
)


def drawn():
    from hypothesis import strategies as st

    side = st.sampled_from([1, 1, 2, 3, 8, 17, 64, 300])
    extra = st.dictionaries(
        st.sampled_from(
            ["exif", "icc", "animated", "transparency", "text", "dpi", "compression", "cut", "bomb", "tail",
             "level"]
        ),
        st.integers(0, 2**16),
        max_size=3,
    )
    return st.tuples(st.sampled_from(FORMATS), st.sampled_from(MODES), side, side, extra)


def start_drawn(folder: Path):
    read = start(folder)

    def run(case: tuple) -> None:
        read(picture(*case))

    return run


def picture(kind: str, mode: str, width: int, height: int, extra: dict[str, int]) -> bytes:
    """A file of that format, or as near to it as Pillow gets."""
    from PIL import Image

    if "bomb" in extra:
        return bomb(*((1, 2**31 - 1), (60_000, 60_000), (16_000, 9_000), (178_956_970, 1))[extra["bomb"] % 4])
    level = extra.get("level", 90) % 256
    image = Image.new("L", (width, height), level)
    try:
        image = image.convert("RGB").convert(mode) if mode != "F" else image.convert("F")
    except ValueError:
        image = Image.new(mode, (width, height))
    options: dict = {}
    if "exif" in extra:
        exif = Image.Exif()
        exif[0x0112] = extra["exif"] % 12
        exif[0x010E] = "x" * extra["exif"]
        options["exif"] = exif if extra["exif"] % 3 else bytes(extra["exif"])
    if "icc" in extra:
        minimal = b"\0" * 36 + b"acsp" + bytes(200)
        options["icc_profile"] = bytes(extra["icc"] % 500) if extra["icc"] % 2 else minimal
    if "animated" in extra:
        options |= {"save_all": True, "append_images": [image] * (extra["animated"] % 4)}
    if "transparency" in extra:
        options["transparency"] = extra["transparency"] % 300
    if "dpi" in extra:
        options["dpi"] = (extra["dpi"], 0)
    if "compression" in extra:
        options["compression"] = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", "jpeg")[
            extra["compression"] % 6
        ]
    if "text" in extra:
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("k", "v" * extra["text"] * 40, zip=True)
    data = saved(image, kind, options)
    if "cut" in extra:
        data = data[: extra["cut"] % (len(data) + 1)]
    if "tail" in extra:
        data += bytes(extra["tail"])
    return data


def saved(image, kind: str, options: dict) -> bytes:
    buffer = io.BytesIO()
    for mode, chosen in ((image.mode, options), (image.mode, {}), ("RGB", {}), ("1", {})):
        try:
            image.convert(mode).save(buffer, kind, **chosen)
            return buffer.getvalue()
        except Exception:  # Pillow cannot write this: what it can, then
            buffer.seek(0)
            buffer.truncate()
    return b""


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is so large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


KINDS = (
    Bytes(
        "pictures",
        "bytes of picture files, read as pictures and as masks",
        30,
        start,
        refusals,
        seeds="pictures",
        instrument=("birefnet.imaging.pictures", "PIL.Image", "PIL.TiffImagePlugin", "PIL.PngImagePlugin"),
    ),
    Kind(
        "drawn pictures",
        "every format, mode and metadata that Pillow writes, cut off, animated, bombs",
        6,
        start_drawn,
        refusals,
        drawn,
    ),
)
