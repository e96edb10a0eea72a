"""Photographs out of a Qt resource file that is made here: read, their licences heeded, their subjects found."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tools.nano import photographs


def resource_file(files: dict[str, bytes]) -> bytes:
    """A version 1 Qt resource file with the given files below /gcompris/src/activities/zoo/resource."""
    folders = ["gcompris", "src", "activities", "zoo", "resource"]
    names, data, nodes = b"", b"", []

    def name(text: str) -> int:
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return at

    nodes.append(struct.pack(">IHII", 0, 2, 1, 1))
    for depth, folder in enumerate(folders):
        children = len(files) if folder == "resource" else 1
        nodes.append(struct.pack(">IHII", name(folder), 2, children, depth + 2))
    for file, content in files.items():
        packed = struct.pack(">I", len(content)) + zlib.compress(content)
        stored, flags = (packed, 1) if file.endswith("README") else (content, 0)
        nodes.append(struct.pack(">IHHHI", name(file), flags, 0, 0, len(data)))
        data += struct.pack(">I", len(stored)) + stored
    tree = b"".join(nodes)
    return struct.pack(">4sIIII", b"qres", 1, 20, 20 + len(tree), 20 + len(tree) + len(data)) + tree + data + names


def photograph() -> np.ndarray:
    """A red disc on green grass, [120,200,3]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:120, 0:200]
    pixels = rng.normal((40, 150, 50), 12, (120, 200, 3))
    pixels[disc(y, x)] = rng.normal((200, 40, 40), 12, (disc(y, x).sum(), 3))
    return pixels.clip(0, 255).astype(np.uint8)


def disc(y, x):
    return np.hypot(y - 60, x - 110) < 38


README = """Copyright: Somebody
License: {}
Source: a page
Files:
disc.png
other.png

Copyright: Somebody else
License: CC-BY-SA-3.0
Files: shared.png
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """Writes the activity "zoo" with the given licence of disc.png."""
    def write(licence: str) -> None:
        held = io.BytesIO()
        Image.fromarray(photograph()).save(held, "PNG")
        content = {name: held.getvalue() for name in ("disc.png", "other.png", "shared.png", "unnamed.png")}
        (tmp_path / "zoo.rcc").write_bytes(resource_file({**content, "README": README.format(licence).encode()}))
        monkeypatch.setattr(photographs, "RESOURCES", tmp_path)
        photographs.resources.cache_clear()
        photographs.licences.cache_clear()

    return write


@pytest.mark.parametrize("licence", ["Public domain", "CC0-1.0", "CC-BY-SA 4.0"])
def test_a_picture_whose_licence_serves_is_read(zoo, licence):
    zoo(licence)
    assert (photographs.read("zoo/disc.png", 200) == photograph()).all()
    assert photographs.read("zoo/other.png", 100).shape == (60, 100, 3)


@pytest.mark.parametrize("name, said", [("zoo/shared.png", "cc-by-sa-3.0"), ("zoo/unnamed.png", "not named")])
def test_any_other_is_refused(zoo, name, said):
    zoo("CC0-1.0")
    with pytest.raises(PermissionError, match=said):
        photographs.read(name, 200)


def test_another_file_is_no_resource_file(zoo, tmp_path):
    zoo("CC0-1.0")
    (tmp_path / "zoo.rcc").write_bytes(b"PK\3\4" + bytes(40))
    photographs.resources.cache_clear()
    with pytest.raises(ValueError, match="no Qt resource file"):
        photographs.read("zoo/disc.png", 200)


def test_the_marked_subject_is_found():
    alpha = photographs.matte(photograph(), {"box": [30, 10, 80, 90], "inside": [[55, 50, 3]]})
    truth = disc(*np.mgrid[0:120, 0:200])
    found = alpha > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.97
    assert 0 < ((alpha > 0.1) & (alpha < 0.9)).mean() < 0.1  # a soft edge, no haze


def test_a_stroke_outside_keeps_a_part_out():
    alpha = photographs.matte(photograph(), {"box": [30, 10, 80, 90], "outside": [[55, 10, 55, 50, 4]]})
    assert alpha[30:60, 108:112].max() < 0.5


def test_marks_lie_within_their_pictures():
    marked = json.loads(json.dumps(photographs.marked()))
    assert len(marked["scenes"]) > 90 and len(marked["backgrounds"]) > 70
    assert not set(marked["scenes"]) & set(marked["backgrounds"])
    for name, marks in marked["scenes"].items():
        assert set(marks) <= {"box", "inside", "outside", "smallest"}, name
        for line in [marks.get("box", [0, 0, 100, 100]), *marks.get("inside", []), *marks.get("outside", [])]:
            assert all(0 <= value <= 100 for value in line), name
        left, top, right, bottom = marks.get("box", (4, 4, 96, 96))
        assert left < right and top < bottom, name
