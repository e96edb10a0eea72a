"""One running ComfyUI for all tests here: the floor version, or the one that COMFYUI_PATH names."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # host, floor, workflow, browser, known

from floor import comfyui  # noqa: E402
from host import Host, values  # noqa: E402
from known import MASK, PHOTO  # noqa: E402


@pytest.fixture(scope="session")
def host(tmp_path_factory) -> Host:
    """The ComfyUI that all tests share."""
    home, python = comfyui()
    with Host(home, tmp_path_factory.mktemp("comfyui"), python) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(host) -> dict[str, dict]:
    return host.object_info()


@pytest.fixture(scope="session")
def photo(host, tmp_path_factory) -> str:
    """Upload the photograph whose mask is known; its name in the host. PNG: hosts decode JPEG differently."""
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    with Image.open(PHOTO) as picture:
        picture.save(file)
    return host.upload(file)


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """The photograph, [H,W,3] in 0..1."""
    return values(Image.open(PHOTO))


@pytest.fixture(scope="session")
def known() -> np.ndarray:
    """Its mask, [H,W] in 0..1, 1 = subject."""
    return values(Image.open(MASK))
