"""Which input becomes which output file, and which inputs cannot be done."""

from __future__ import annotations

import glob
from itertools import takewhile
from pathlib import Path

from ...pictures import WRITERS, PictureError, check_writable, suffixes
from .. import CommandError


def plan(
    inputs: list[str], out: Path, *, alpha: bool, force: bool, backdrop: Path | None = None
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pairs (input file, output file), and one sentence for each input that would lose or replace something.

    One input file and an OUT that names a picture: that name. Else OUT is a folder and each output is <stem>.png.
    `alpha`: the output needs a format with transparency. `force`: outputs may replace files, save the inputs and the
    picture `backdrop`. Raises `CommandError` where OUT or all of the inputs are wrong.
    """
    sources, several = _sources(inputs, out)
    if not several and out.suffix and not out.is_dir():
        try:
            check_writable(out, alpha)
        except PictureError as error:
            raise CommandError(str(error)) from None
        return _without_losses([(sources[0], out)], force, backdrop)
    if not out.is_dir() and (out.exists() or out.suffix.lower() in WRITERS):
        raise CommandError(f"{out}: expected a folder (with several inputs OUT is one), got a file's name")
    return _without_losses([(source, out / f"{source.stem}.png") for source in sources], force, backdrop)


def _sources(inputs: list[str], out: Path) -> tuple[list[Path], bool]:
    """The files that the arguments mean, each once, and whether they count as several (a folder always does)."""
    paths = [path for text in inputs for path in _expand(text, out)]
    if not paths:
        raise CommandError(f"{' '.join(inputs)}: no file matches")
    sources: list[Path] = []
    readable = suffixes()
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
            sources.extend(entry for entry in inside if entry.suffix.lower() in readable and entry.is_file())
        else:
            sources.append(path)
    if not sources:
        raise CommandError(f"{' '.join(inputs)}: no picture in there")
    return list(dict.fromkeys(sources)), len(paths) > 1 or paths[0].is_dir()


def _expand(text: str, out: Path) -> list[Path]:
    """A path, or the sorted matches of a glob (** for all folders below) less what lies in OUT, if OUT is below it."""
    if Path(text).exists() or not glob.has_magic(text):
        return [Path(text)]
    start = Path(*takewhile(lambda part: not glob.has_magic(part), Path(text).parts)).resolve()
    results = out.resolve() if start in out.resolve().parents else None
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    return [match for match in matches if results not in (match.resolve(), *match.resolve().parents)]


def _without_losses(
    pairs: list[tuple[Path, Path]], force: bool, backdrop: Path | None
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """The pairs that can be done, and a sentence for each that would replace what is read, a result or a file."""
    read = {path.resolve() for path in (*(source for source, _ in pairs), backdrop) if path is not None}
    first: dict[str, Path] = {}
    jobs, refusals = [], []
    for source, target in pairs:
        name = target.name.casefold()  # A.png and a.png are one file on many machines
        if name in first:
            refusals.append(f"{source}: {target} is the result of {first[name]}; rename one of them")
        elif target.resolve() in read:
            refusals.append(f"{source}: its result would replace {target}, which is read; take another OUT")
        elif target.exists() and not force:
            refusals.append(f"{source}: {target} exists; --force overwrites")
        else:
            jobs.append((source, target))
        first.setdefault(name, source)
    return jobs, refusals
