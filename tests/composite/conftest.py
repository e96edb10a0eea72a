"""What the tests of compositing share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # known_boxes
