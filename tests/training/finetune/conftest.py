"""Puts the generators of wall cracks, and the proof that they serve, where the tests find them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
