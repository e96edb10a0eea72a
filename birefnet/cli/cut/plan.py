"""Map inputs to outputs: jobs, results that exist already, and inputs that are refused."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from ...imaging.photographs import DEFAULT_STYLE, Style
from ...imaging.pictures import WRITERS, PictureError
from ..numbered import fill_pattern, frame_number
from ..options import CommandError
from . import places
from .manifest import Job, Manifest
from .sources import Input


@dataclass
class Plan:
    """What a run does.

    Args:
        jobs: left to do.
        new: those of them that no earlier run has planned.
        done: number of results of earlier runs.
        refusals: (source, reason) of each input that cannot be read here, or whose result would replace
            another file.
        stale: jobs that are done, but whose source has changed since.
        others: files in the inputs' folders that are not pictures.
    """

    jobs: list[Job] = field(default_factory=list)
    new: list[Job] = field(default_factory=list)
    done: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)
    stale: list[Job] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def split_pattern(out: str) -> tuple[str, str]:
    """Split OUT, such as shots/cut.####.exr, into folder and pattern; without one, return OUT and ""."""
    if "#" not in places.name(out) or not places.is_url(out) and os.path.isdir(out):
        return out, ""
    return places.parent(out) or os.curdir, places.name(out)


def is_folder(several: bool, out: str, *, alpha: bool, style: Style = DEFAULT_STYLE) -> bool:
    """Whether OUT is a folder of results; else it is one picture's file, or "-".

    Args:
        several: there may be several results.
        out: OUT.
        alpha: results need a format with transparency.
        style: how results are stored.

    Raises:
        CommandError: OUT fits neither.
    """
    folder = _is_folder(several, out)
    kind = "stdout" if out == places.STANDARD else "results" if folder else ""
    try:
        style.check(f"{kind}{style.suffix}" if kind else out, alpha)
    except PictureError as error:
        raise CommandError(str(error)) from None
    return folder


def _is_folder(several: bool, out: str) -> bool:
    """`is_folder`, without the check of the format."""
    if out == places.STANDARD:
        if several:
            raise CommandError("-o -: standard output takes one picture; give a folder for several")
        return False
    suffix = os.path.splitext(places.name(out))[1].lower()
    folder = not places.is_url(out) and os.path.isdir(out)
    if not several and suffix and not folder:
        return False
    if not folder and (suffix in WRITERS or not places.is_url(out) and os.path.exists(out)):
        raise CommandError(f"{out}: expected a folder (with several inputs OUT is one), got a file's name")
    return True


def plan_one(source: str, out: str, *, force: bool, backdrop: str | None = None) -> Plan:
    """Plan one input's result, in a file or on standard output. backdrop: a file that is not replaced."""
    there = out != places.STANDARD and places.exists(out)
    if there and places.name(out) in _read_below(places.parent(out), filter(None, (source, backdrop))):
        return Plan(refusals=[_replaces_what_is_read(source, out)])
    if there and not force:
        return Plan(refusals=[_exists(source, out)])
    return Plan([Job(source, out)])


def plan_folder(inputs: list[Input], out: str, manifest: Manifest, *, force: bool,
                backdrop: str | None = None, suffix: str = ".png", pattern: str = "") -> Plan:
    """Plan each input's result in the folder OUT, named by `_names`.

    If OUT itself is given as a folder of pictures, results of earlier runs in it are not inputs.

    Args:
        inputs: from `find_sources`.
        out: OUT.
        manifest: its record of earlier runs.
        force: results may replace files, except the inputs and `backdrop`.
        backdrop: the background's file.
        suffix, pattern: as for `_names`.
    """
    inputs = _without_results(inputs, manifest)
    protected = _read_below(out, filter(None, [*(one.place for one in inputs), backdrop]))
    there = functools.lru_cache(maxsize=None)(
        lambda folder: places.listing(places.join(out, folder) if folder else out))
    plan, first = Plan(), {}
    for one, name in _names(inputs, manifest, suffix, pattern):
        source, target = one.place, places.join(out, name)
        folder, _, base = name.rpartition("/")
        before = manifest.planned.get(name)
        key = name.casefold()  # A.png and a.png are one file on many machines
        if before is not None and before.source != places.absolute(source):
            first.setdefault(key, before.source)
        if key in first:
            plan.refusals.append(
                (source, f"{source}: {target} is the result of {first[key]}; rename one of them"))
        elif name in protected:
            plan.refusals.append(_replaces_what_is_read(source, target))
        elif before is None and base in there(folder) and not force:
            plan.refusals.append(_exists(source, target))
        else:
            _add(plan, Job(source, target, there(folder).get(base, ""), places.changed(source)), before)
        first.setdefault(key, source)
    plan.jobs += plan.new
    return plan


def _names(inputs: list[Input], manifest: Manifest, suffix: str, pattern: str) -> Iterator[tuple[Input, str]]:
    """Yield each input and the name of its result below OUT: the input's folder, its stem and `suffix`.

    With a pattern such as cut.####.exr, it is the pattern with the number that the input's stem ends in.

    Results of earlier runs keep their names. If names are equal, inputs with different suffixes keep their
    suffix (a.jpg.png), and inputs in different folders get their folder's name (100APPLE/a.png).
    """
    before = {job.source: name for name, job in manifest.planned.items()}
    if pattern:
        yield from ((one, fill_pattern(pattern, frame_number(places.name(one.place)))) for one in inputs)
        return
    alike: dict[str, list[Input]] = {}
    for one in inputs:
        alike.setdefault(_name(one, suffix).casefold(), []).append(one)
    for one in inputs:
        name = before.get(places.absolute(one.place)) if before else None
        others = alike[_name(one, suffix).casefold()]
        if name is None and len(others) > 1:
            suffixes = {os.path.splitext(places.name(other.place))[1].casefold() for other in others}
            name = (_name(one, suffix, keep=True) if len(suffixes) == len(others) else
                    _name(one, suffix, parent=True))
        yield one, name or _name(one, suffix)


def _name(one: Input, suffix: str, keep: bool = False, parent: bool = False) -> str:
    """The name of an input's result below OUT. keep: keep the input's suffix, too. parent: in a folder with
    the name of the input's."""
    base = places.name(one.place) if one.place != places.STANDARD else "stdin"
    folders = [one.folder, places.name(places.parent(places.absolute(one.place)))] if parent else [one.folder]
    return "/".join([*filter(None, folders), f"{base if keep else os.path.splitext(base)[0]}{suffix}"])


def _without_results(inputs: list[Input], manifest: Manifest) -> list[Input]:
    """Remove inputs that are results of earlier runs from other inputs."""
    if not manifest.planned:
        return inputs
    given = {places.absolute(one.place) for one in inputs}
    made = {places.absolute(job.target) for job in manifest.planned.values() if job.source in given}
    return [one for one in inputs if places.absolute(one.place) not in made]


def _add(plan: Plan, job: Job, before: Job | None) -> None:
    """Add a job to the plan, unless an earlier run has done it. before: the job as that run planned it."""
    same = before is not None and before.changed in (0, job.changed)  # 0: not known
    if before is not None and job.replaces and job.replaces != before.replaces:
        plan.done += 1
        if not same:
            plan.stale.append(job)
    elif same:
        plan.jobs.append(replace(job, replaces=before.replaces))
    else:
        plan.new.append(job)


def _exists(source: str, target: str) -> tuple[str, str]:
    """The refusal of an input whose result exists."""
    return source, f"{source}: {target} exists; --force overwrites"


def _replaces_what_is_read(source: str, target: str) -> tuple[str, str]:
    """The refusal of an input whose result would replace an input or the background."""
    return source, f"{source}: its result would replace {target}, which is read; take another OUT"


def _read_below(folder: str, read: Iterable[str]) -> set[str]:
    """Names below `folder`, with "/" between their parts, of the files that are among `read`, with links
    followed."""
    if places.is_url(folder):
        start = f"{folder.rstrip('/')}/"
        return {place.removeprefix(start) for place in read if place.startswith(start)}
    here = os.path.join(os.path.realpath(folder), "")
    real = functools.lru_cache(maxsize=1024)(os.path.realpath)
    names = set()
    for place in read:
        if places.is_url(place) or place == places.STANDARD:
            continue
        if os.path.islink(place):
            place = os.path.realpath(place)
        inside = os.path.join(real(os.path.dirname(place)), "")
        if inside.startswith(here):
            names.add((inside[len(here):] + os.path.basename(place)).replace(os.sep, "/"))
    return names
