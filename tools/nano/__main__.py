"""Make weights/birefnet-nano.safetensors again: `python -m tools.nano FOLDER`.

FOLDER gets the pictures (in `cache`, about 1 GB) and the run, which goes on where it stopped. The packages
that the pictures come from are listed in weights/NANO.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .cache import pack
from .sources import PANORAMAS, read_all
from .training import SEED, train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.nano", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--panoramas", type=Path, default=PANORAMAS,
                        help="folder of npm @pmndrs/assets' panoramas (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that make composites")
    args = parser.parse_args()
    cache = args.folder / "cache"
    if not (cache / "index.json").exists():
        pack(cache, read_all(SEED, args.panoramas))
    print(f"written: {train(args.folder, cache, workers=args.workers)}")


if __name__ == "__main__":
    main()
