"""What the fuzzers found, each with the smallest input that showed it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import birefnet
import weights
from birefnet import CheckpointError, Config, video
from birefnet.evaluation.run import read_grey, read_journal
from birefnet.imaging import colour, pictures

ROOT = Path(__file__).parents[2]
SEEDS = Path(__file__).parent / "seeds"
LIMIT = 1000  # characters of a message


def refused(source, kind: type[Exception] = CheckpointError) -> str:
    """The sentence with which a checkpoint is refused."""
    with pytest.raises(kind) as error:
        birefnet.load(source)
    text = str(error.value)
    assert text.isprintable() and len(text) < LIMIT, text[: 2 * LIMIT]
    return text


def tiny(**changes) -> dict[str, torch.Tensor]:
    """The state dict of a small network."""
    build = {
        "family": "pvt_v2",
        "widths": (8, 16, 40, 64),
        "depths": (1, 1, 1, 1),
        "heads": (1, 2, 5, 8),
        "mlp_ratios": (2, 2, 2, 2),
        "kernels": (1, 3),
        "inner": 8,
        "branch": 8,
        "patch_inner": 8,
        "gate": 4,
    }
    state = birefnet.BiRefNet(Config(**build | changes)).state_dict()
    return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}


# Checkpoints ------------------------------------------------------------------------------------------------


def test_names_and_metadata_are_quoted_short_and_printable(tmp_path):
    save_file({"a\n\x1b[31m": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert "\\x1b" in refused(tmp_path / "a.safetensors")
    save_file(tiny(), tmp_path / "a.safetensors", {"birefnet.normalize": "x" * 100_000})
    assert "normalize" in refused(tmp_path / "a.safetensors")


@pytest.mark.parametrize("depth", [1000, 100_000], ids=["deep", "deeper"])
def test_nested_dicts_are_looked_into_a_few_times_only(depth):
    content = {}
    for _ in range(depth):
        content = {"model": content}
    assert "no tensors found" in refused(content)


def test_a_dict_in_a_circle():
    circle = {}
    circle["model"] = circle
    assert "no tensors found" in refused(circle)


def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path):
    path = tmp_path / "a.safetensors"
    length = 90_000_000  # the format allows 100 MB, which become some GB of Python's objects
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{")
        file.truncate(8 + length)
    assert "header would have 90000000 bytes" in refused(path)


@pytest.mark.parametrize(
    "name, shape",
    [
        ("squeeze_module.0.conv_in.weight", (8,)),  # ValueError: not enough values to unpack
        ("squeeze_module.0.conv_in.weight", ()),
        ("bb.norm1.weight", ()),
        ("bb.block1.0.mlp.fc1.weight", (0, 8)),
        ("decoder.gdt_convs_4.0.weight", (0, 4, 3, 3)),
    ],
)
def test_shapes_of_fewer_sides_or_without_any_size(name, shape):
    assert "not fit together" in refused(tiny() | {name: torch.zeros(shape)})


def test_no_attention_heads():
    state = tiny(family="swin_v1", widths=(4, 8, 16, 32), heads=(1, 2, 4, 8), window=3)
    state["bb.layers.0.blocks.0.attn.relative_position_bias_table"] = torch.zeros(25, 0)
    assert "heads" in refused(state)


def test_a_network_of_absurd_size_is_not_built():
    """5,000 names are 5,000 blocks to build; a table of no width asks for windows of any size."""
    blocks = {f"bb.block1.{i}.x": torch.zeros(0) for i in range(5000)}
    assert "depths contains 5000" in refused(tiny() | blocks)
    swin = tiny(family="swin_v1", widths=(4, 8, 16, 32), heads=(1, 2, 4, 8), window=3)
    assert "window" in refused(
        swin | {"bb.layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros((2 * 3000 - 1) ** 2, 1)}
    )


def test_a_network_size_that_fills_any_memory(tmp_path):
    save_file(tiny(), tmp_path / "a.safetensors", {"birefnet.size": "99999999"})
    assert "size contains 99999999" in refused(tmp_path / "a.safetensors")


ODD = {
    "sparse": lambda: torch.zeros(8).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(8), 0.1, 0, torch.quint8),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "meta": lambda: torch.zeros(8, device="meta"),
}


@pytest.mark.parametrize("kind", ODD)
def test_tensors_that_are_none(kind):
    assert "no plain tensor" in refused(tiny() | {"bb.norm1.weight": ODD[kind]()})


def test_one_number_that_claims_to_be_a_terabyte(tmp_path):
    torch.save(tiny() | {"bb.norm1.weight": torch.zeros(1).expand(1 << 19, 1 << 19)}, tmp_path / "a.pth")
    assert "claim" in refused(tmp_path / "a.pth")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 26))
    assert (tmp_path / "a.pth").stat().st_size < 100_000
    assert "unpacks to" in refused(tmp_path / "a.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pth")
    assert "pipe" in refused(tmp_path / "a.pth")


# Pictures ---------------------------------------------------------------------------------------------------


def test_a_mask_in_postscript_is_not_run(tmp_path):
    """Pillow hands EPS to Ghostscript, another program; masks of a data set were opened without a list of
    formats."""
    (tmp_path / "a.png").write_bytes((SEEDS / "pictures" / "eps").read_bytes())
    with pytest.raises(pictures.PictureError, match="expected a picture"):
        read_grey(tmp_path / "a.png")


NO_ROOM = """
import resource, sys, torch
from birefnet import pictures
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 28), -1))
try:
    pictures.read(sys.argv[1])
except pictures.PictureError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its own memory as Linux does")
def test_a_picture_that_fits_as_bytes_and_not_as_numbers(tmp_path):
    Image.new("1", (6000, 6000)).save(tmp_path / "a.png")  # a few kB; as RGB 144 MB, as floats 432 MB
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, tmp_path / "a.png"], cwd=ROOT, capture_output=True, text=True,
        timeout=120
    )
    assert "not enough memory" in done.stdout, done.stderr


# Videos -----------------------------------------------------------------------------------------------------


def video_refused(path: Path) -> str:
    with pytest.raises(video.VideoError) as error, video.VideoClip(path) as clip:
        list(clip)
    return str(error.value)


def test_pictures_in_an_unknown_codec(tmp_path):
    data = (SEEDS / "videos" / "clip.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data.replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    assert "cannot decode" in video_refused(tmp_path / "a.mp4")


def test_a_header_that_no_decoder_begins_with():
    assert "cannot be decoded" in video_refused(SEEDS / "videos" / "found-no-decoder.mp4")


def test_tags_that_are_not_utf_8(tmp_path):
    data = (SEEDS / "videos" / "clip.mp4").read_bytes()
    assert data.count(b"isom") and b"Lavf" in data
    (tmp_path / "a.mp4").write_bytes(data.replace(b"Lavf", b"La\xe9f"))
    with video.VideoClip(tmp_path / "a.mp4") as clip:
        assert len(list(clip)) == 4


def test_a_playlist_opens_no_other_file(tmp_path):
    """FFmpeg goes by content: a text under the name of a video would open the files that it names."""
    (tmp_path / "secret.mp4").write_bytes((SEEDS / "videos" / "clip.mp4").read_bytes())
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert "expected a video" in video_refused(tmp_path / "a.mp4")


def test_no_pictures_a_second():
    with pytest.raises(video.VideoError, match="pictures a second"):
        video.TensorClip(torch.zeros(1, 4, 4, 3), 0)


# Names, colours, journal
# -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["BiRefNet" + "-fp16" * 100_000, "-fp16" * 100_000 + "x", "a/" * 100_000, "\0", "\ud800", "x\nx"],
    ids=["endings", "no ending", "parts", "zero", "half a letter", "two lines"],
)
def test_names_that_took_minutes_or_broke_a_line(tmp_path, name):
    with pytest.raises(weights.NotFound) as error:
        weights.find(name, [tmp_path])
    assert str(error.value).isprintable() and len(str(error.value)) < LIMIT
    assert weights.settings(name) == {}


@pytest.mark.parametrize("text", ["rgb(0 0 nan)", "hsl(nan 1% 1%)", "rgb(inf 0 0)", "(" * 10_000, "#\x1b\n"])
def test_colours_that_are_none(text):
    with pytest.raises(ValueError, match="expected a colour") as error:
        colour.parse_colour(text)
    assert str(error.value).isprintable() and len(str(error.value)) < LIMIT


@pytest.mark.parametrize(
    "line",
    [
        b'{"name": "a"}',
        b"[]",
        b"1",
        b"\xff\xfe",
        b'{"name": "a", "values": {}, "f_curve": "!"}',
        b"[" * 9999,
        b'{"name": 1e999, "values": [], "f_curve": ""}',
    ],
)
def test_a_damaged_line_of_a_journal_is_left_out(tmp_path, line):
    whole = (SEEDS / "journals" / "one").read_bytes()
    (tmp_path / "a.journal").write_bytes(whole + line + b"\n")
    assert list(read_journal(tmp_path / "a.journal", {"data": "x", "model": "birefnet-nano"})) == ["im/a"]


def test_a_text_in_an_old_pickle_that_claims_gigabytes(tmp_path):
    (tmp_path / "claims.pth").write_bytes(b"\x80\x02X\xff\xff\xff\x7fabc.")
    with pytest.raises(CheckpointError, match="damaged|refused"):
        birefnet.load(tmp_path / "claims.pth")
