"""Makes the seeds again: `python tests/fuzz/seeds/make.py`. Files that a fuzzer found are added by hand and
stay."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "video")]

from clips import pictures as drawn  # noqa: E402
from clips import write  # noqa: E402


def keep(kind: str, name: str, content: bytes) -> None:
    path = HERE / kind / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def safetensors() -> None:
    def header(entries: dict) -> bytes:
        return b"S" + json.dumps(entries).encode()

    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    keep("safetensors", "one", header({"a": entry}) + b"\0" + bytes(16))
    keep(
        "safetensors", "metadata",
        header({"__metadata__": {"birefnet.size": "64x64"}, "a": entry}) + b"\0" + bytes(16)
    )
    keep(
        "safetensors",
        "decoder",
        header(
            {
                "decoder.decoder_block4.a": entry,
                "bb.layers.0.blocks.0.attn.relative_position_bias_table": entry | {"data_offsets": [16, 32]},
                "bb.patch_embed.proj.weight": entry | {"data_offsets": [32, 48]},
                "squeeze_module.0.conv_in.weight": entry | {"data_offsets": [48, 64]},
            }
        )
        + b"\0"
        + bytes(64),
    )
    keep(
        "safetensors",
        "whole",
        len(json.dumps({"a": entry})).to_bytes(8, "little") + json.dumps({"a": entry}).encode() + bytes(16),
    )
    keep("safetensors", "page", b"<!DOCTYPE html><html>Not found</html>")


def pickles() -> None:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"module.a": torch.arange(8.0)}, "epoch": 3}, buffer)
    keep("pickles", "zip", buffer.getvalue())
    import zipfile

    with zipfile.ZipFile(buffer) as archive:
        inner = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    keep("pickles", "inner", b"Z" + inner)
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.arange(8.0)}}, buffer, _use_new_zipfile_serialization=False)
    keep("pickles", "legacy", buffer.getvalue())
    plain = pickle.dumps({"a": 1, "b": [1.5, "x", None, True], "c": {"d": (1, 2)}}, 2)
    keep("pickles", "plain", plain)
    keep("pickles", "wrapped", b"L" + plain)
    keep("pickles", "system", b"Z\x80\x02cos\nsystem\nX\x08\x00\x00\x00echo>ranq\x00\x85q\x01R.")


def pictures() -> None:
    gradient = np.linspace(0, 255, 7 * 5 * 4).reshape(5, 7, 4).astype(np.uint8)
    rgba = Image.fromarray(gradient)
    for kind, mode in (
        ("AVIF", "RGB"),
        ("BMP", "RGB"),
        ("GIF", "P"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("JPEG2000", "RGB"),
        ("MPO", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "1"),
        ("PPM", "RGB"),
        ("TGA", "RGBA"),
        ("TIFF", "RGB"),
        ("TIFF", "CMYK"),
        ("TIFF", "LAB"),
        ("WEBP", "RGBA"),
    ):
        buffer = io.BytesIO()
        rgba.convert("RGB").convert(mode).save(buffer, kind) if mode != "RGBA" else rgba.save(buffer, kind)
        keep("pictures", f"{kind}-{mode}".lower(), buffer.getvalue())
    for name, image, kind in (
        ("png-16", Image.new("I;16", (5, 4), 40_000), "PNG"),
        ("tiff-f", Image.new("F", (5, 4), 0.5), "TIFF"),
        ("tiff-i", Image.new("I", (5, 4), 7), "TIFF"),
        ("pgm-16", Image.new("I;16", (5, 4), 9), "PPM"),
    ):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        keep("pictures", name, buffer.getvalue())
    for kind in ("GIF", "PNG", "WEBP"):
        buffer = io.BytesIO()
        rgba.convert("RGB").save(buffer, kind, save_all=True, append_images=[Image.new("RGB", (7, 5), "red")])
        keep("pictures", f"{kind}-animated".lower(), buffer.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    rgba.convert("RGB").save(buffer, "JPEG", exif=exif)
    keep("pictures", "jpeg-exif", buffer.getvalue())
    keep(
        "pictures", "psd",
        b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\4\0\0\0\5\0\x08\0\3" + bytes(12) + b"\0\0" + bytes(60)
    )
    keep(
        "pictures",
        "eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(ran) (w) file closefile "
        b"showpage\n",
    )


def videos() -> None:
    few = drawn(4, 16, 32)
    for name, options in {
        "clip.mp4": {},
        "clip.mov": {},
        "clip.mkv": {},
        "clip.avi": {"codec": "mpeg4"},
        "clip.ts": {},
        "clip.webm": {"codec": "libvpx-vp9", "options": {"crf": "40", "cpu-used": "8"}},
        "sound.mp4": {"sound": "aac", "seconds": 0.1},
        "fragments.mp4": {"movflags": "frag_keyframe+empty_moov"},
    }.items():
        (HERE / "videos").mkdir(exist_ok=True)
        write(HERE / "videos" / name, few, **options)
    for name, content in {
        "playlist.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///tmp/a.ts\n#EXT-X-ENDLIST\n",
        "concat.txt": b"ffconcat version 1.0\nfile clip.mp4\nfile /tmp/a.mp4\n",
        "stream.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9999 RTP/AVP "
                      b"96\n"
        b"a=rtpmap:96 H264/90000\n",
    }.items():
        keep("videos", name, content)


def journals() -> None:
    import base64

    from birefnet.evaluation import saliency
    from birefnet.evaluation.scores import MEASURES

    settings = json.dumps({"data": "x", "model": "birefnet-nano"})
    curve = base64.b64encode(np.zeros(saliency.LEVELS, "<f8").tobytes()).decode()
    line = json.dumps({"name": "im/a", "values": dict.fromkeys(MEASURES, 0.5), "f_curve": curve})
    keep("journals", "one", f"{settings}\n{line}\n".encode())
    keep("journals", "cut", f"{settings}\n{line}\n{line[:100]}".encode())
    keep(
        "journals",
        "odd",
        f'{settings}\n{{"name": 1}}\n[]\n"x"\n{{"name": "b", "values": {{}}, "f_curve": "AAAA"}}\n'.encode(),
    )


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[2]))
    for made in (safetensors, pickles, pictures, videos, journals):
        made()
