"""`python -m birefnet fetch`: downloads checkpoints from the Hugging Face hub, and lists them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command `fetch`."""
    parser = subparsers.add_parser(
        "fetch",
        help="download a published checkpoint, or list them",
        description="Downloads checkpoints from the Hugging Face hub, unless they are already on this "
        "machine. HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the proxy variables apply.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="checkpoints by their names in the list")
    parser.add_argument(
        "--to", type=Path, metavar="DIR",
        help="folder to put them into (default: models/BiRefNet of the ComfyUI around this clone, else "
        "`models` in it)",
    )
    parser.add_argument("--list", action="store_true",
                        help="list the checkpoints: purpose, size, and where they are")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Download or list. Exit status: 0 if every checkpoint is there, 1 if one is not, 2 if none was named."""
    if args.list:
        _list(args.to)
    elif not args.names:
        args.parser.print_usage(sys.stderr)
        print("name a checkpoint, or see them with --list", file=sys.stderr)
        return 2
    missing = [name for name in args.names if not _fetch(name, args.to)]
    return 1 if missing else 0


def _fetch(name: str, folder: Path | None) -> bool:
    """Download one checkpoint, unless its file is already here, and print its path; False if that failed."""
    import weights

    row, here = weights.entry(name), None if folder else _here(name)
    if here is not None and (row is None or here.name != row.filename):
        print(here)
        return True
    if here is None and row is not None and row.non_commercial:
        print(f"{row.name} is for non-commercial use only ({row.license})", file=sys.stderr)
    folder = folder or (here.parent if here else weights.folders()[0])
    try:
        with _Bar(name) as bar:
            print(weights.fetch(name, folder, progress=bar))  # no request if the file is complete
    except weights.FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    return True


def _here(name: str) -> Path | None:
    """The checkpoint's file on this machine, under any file name; None if there is none."""
    import weights

    try:
        return weights.find(name, weights.folders())
    except weights.NotFound:
        return None


class _Bar:
    """A progress bar in bytes that appears with the first call."""

    def __init__(self, name: str) -> None:
        self.name, self.bar = name, None

    def __enter__(self) -> _Bar:
        return self

    def __call__(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self.bar is None:
            # `initial`: bytes from an earlier download count as done, but not for the speed.
            self.bar = tqdm(desc=self.name, total=total, initial=done, unit="B", unit_scale=True,
                            disable=None)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()


def _list(folder: Path | None) -> None:
    """Print the catalog as a table: each checkpoint's source, and its file on this machine."""
    import weights

    folders = [folder] if folder else weights.folders()
    for row in weights.CATALOG:
        height, width = row.height_width or (0, 0)
        size = "dynamic" if not height else str(height) if height == width else f"{width}x{height}"
        print(f"{row.name:<26}{size:<11}{row.megabytes:>4} MB  {row.license:<22}{row.task}")
        if row.note:
            print(f"{'':<26}{row.note}")
        try:
            print(f"{'':<26}here: {weights.find(row.name, folders)}")
        except weights.NotFound:
            print(f"{'':<26}from {row.repo}: {row.file}")
