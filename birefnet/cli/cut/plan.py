"""Which input becomes which output, which is done already, and which inputs cannot be done."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ...imaging.pictures import WRITERS, PictureError, check_writable
from ..options import CommandError
from . import places
from .manifest import Job, Manifest


@dataclass
class Plan:
    """`jobs` are left to do, those in `new` for the first time; `done` pictures are there from an earlier run.

    refusals: a source and the reason, for each input that would lose or replace something. stale: those of the done whose
    source has been changed since.
    """

    jobs: list[Job] = field(default_factory=list)
    new: list[Job] = field(default_factory=list)
    done: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)
    stale: list[Job] = field(default_factory=list)


def is_folder(several: bool, out: str, *, alpha: bool) -> bool:
    """Whether OUT is a folder, of <stem>.png each, or one picture's own name: one input and a name with a suffix.

    `alpha`: the output needs a format with transparency. Raises `CommandError` where OUT is wrong.
    """
    suffix = os.path.splitext(places.name(out))[1].lower()
    folder = not places.is_url(out) and os.path.isdir(out)
    if not several and suffix and not folder:
        try:
            check_writable(out, alpha)
        except PictureError as error:
            raise CommandError(str(error)) from None
        return False
    if not folder and (suffix in WRITERS or not places.is_url(out) and os.path.exists(out)):
        raise CommandError(f"{out}: expected a folder (with several inputs OUT is one), got a file's name")
    return True


def plan_one(source: str, out: str, *, force: bool, backdrop: str | None = None) -> Plan:
    """One input and the name of its result."""
    there = places.exists(out)
    if there and places.name(out) in _read_in(places.parent(out), [source, *_given(backdrop)]):
        return Plan(refusals=[_replaces_what_is_read(source, out)])
    if there and not force:
        return Plan(refusals=[_exists(source, out)])
    return Plan([Job(source, out)])


def plan_folder(sources: list[str], out: str, manifest: Manifest, *, force: bool, backdrop: str | None = None) -> Plan:
    """Each input and its <stem>.png in OUT. `force`: outputs may replace files, save the inputs and `backdrop`.

    Results of earlier runs are no inputs, where OUT itself is given as a folder of pictures.
    """
    there = places.listing(out)
    untouchable = _read_in(out, sources) if there else set()
    if not untouchable.isdisjoint(manifest.planned):
        sources = _without_results(sources, manifest)
        untouchable = _read_in(out, sources)
    untouchable |= _read_in(out, _given(backdrop))
    plan, first = Plan(), {}
    for source in sources:
        name = f"{os.path.splitext(places.name(source))[0]}.png"
        target = places.join(out, name)
        before = manifest.planned.get(name)
        key = name.casefold()  # A.png and a.png are one file on many machines
        if before is not None and before.source != places.absolute(source):
            first.setdefault(key, before.source)
        if key in first:
            plan.refusals.append((source, f"{source}: {target} is the result of {first[key]}; rename one of them"))
        elif name in untouchable:
            plan.refusals.append(_replaces_what_is_read(source, target))
        elif before is None and name in there and not force:
            plan.refusals.append(_exists(source, target))
        else:
            _add(plan, Job(source, target, there.get(name, ""), places.changed(source)), before)
        first.setdefault(key, source)
    plan.jobs += plan.new
    return plan


def _without_results(sources: list[str], manifest: Manifest) -> list[str]:
    """The sources less those that earlier runs made of others of them."""
    given = {places.absolute(source) for source in sources}
    made = {places.absolute(job.target) for job in manifest.planned.values() if job.source in given}
    return [source for source in sources if places.absolute(source) not in made]


def _add(plan: Plan, job: Job, before: Job | None) -> None:
    """A job that may be done; before: as an earlier run has planned it."""
    same = before is not None and before.changed in (0, job.changed)  # 0: not known
    if before is not None and job.replaces and job.replaces != before.replaces:
        plan.done += 1
        if not same:
            plan.stale.append(job)
    elif same:
        plan.jobs.append(replace(job, replaces=before.replaces))
    else:
        plan.new.append(job)


def _given(place: str | None) -> list[str]:
    return [] if place is None else [place]


def _exists(source: str, target: str) -> tuple[str, str]:
    return source, f"{source}: {target} exists; --force overwrites"


def _replaces_what_is_read(source: str, target: str) -> tuple[str, str]:
    return source, f"{source}: its result would replace {target}, which is read; take another OUT"


def _read_in(folder: str, read: Iterable[str]) -> set[str]:
    """Names of the files in `folder` that are among those that are read, links followed."""
    if places.is_url(folder):
        return {places.name(place) for place in read if places.parent(place) == folder.rstrip("/")}
    here, real = os.path.realpath(folder), functools.lru_cache(maxsize=1024)(os.path.realpath)
    names = set()
    for place in read:
        if places.is_url(place):
            continue
        if os.path.islink(place):
            place = os.path.realpath(place)
        if real(os.path.dirname(place)) == here:
            names.add(os.path.basename(place))
    return names
