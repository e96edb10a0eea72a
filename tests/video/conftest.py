"""What the tests of video share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # clips


@pytest.fixture(params=["h264", "vp9", "prores"])
def kind(request) -> str:
    return request.param
