"""A run of `cut`: plan, engine, report."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
from collections.abc import Iterable
from functools import partial

from ...files.errors import join_names
from ...imaging.photographs import DEFAULT_STYLE, Style
from ..messages import say
from ..models import find_checkpoint, identify
from ..options import MAX_LISTED, CommandError, describe_os_error
from ..prompts import open_selector, prompt_options
from . import places
from .frame import Frame, parse_frame
from .manifest import Manifest
from .plain import Plain
from .plan import Plan, is_folder, plan_folder, plan_one, split_pattern
from .progress import Progress
from .sources import find_sources
from .steps import Backdrop, CutOptions, Outcome

REPORT = "_failed.csv"


def cut(args: argparse.Namespace) -> int:
    """Write the result of every readable input.

    Args:
        args: from the command's parser.

    Returns:
        Exit status: 0 if all were written, else 1.

    Raises:
        CommandError: nothing can be done at all.
    """
    out, pattern = split_pattern(places.parse(args.out))
    style = _style(args, pattern)
    frame = _frame(args, out, style)
    try:
        backdrop = None if args.background is None else Backdrop(args.background)
        plan, manifest = _make_plan(args, out, backdrop, style, pattern)
    except OSError as error:
        raise CommandError(describe_os_error(error)) from None
    for _, refusal in plan.refusals:
        say(refusal)
    if plan.others:
        say(f"no pictures, left out: {join_names(plan.others, MAX_LISTED)}")
    if plan.stale:
        say(f"{len(plan.stale)} changed since the result was made, such as {plan.stale[0].source}; remove a "
            "result to have it made anew")
    if not plan.jobs and not plan.done:
        return 1
    failed = plan.refusals + (_work(args, plan, manifest, backdrop, style, frame) if plan.jobs else [])
    if manifest is not None:
        try:
            _write_report(places.join(out, REPORT), failed)
            manifest.finish()
        except OSError as error:
            say(f"{out}: the report cannot be written ({error.strerror or error})")
    total = plan.done + len(plan.jobs) + len(plan.refusals)
    before = f", {plan.done} of them before" if plan.done else ""
    say(f"{total - len(failed)} of {total} written to {out}{before}")
    return 1 if failed else 0


def _style(args: argparse.Namespace, pattern: str) -> Style:
    """How results are stored. A pattern such as cut.####.exr gives them its suffix."""
    suffix = os.path.splitext(pattern)[1] if pattern else f".{args.format}"
    return Style(args.depth or "", args.linear, args.premultiplied, args.exif, suffix.lower(), args.quality)


def _frame(args: argparse.Namespace, out: str, style: Style) -> Frame | None:
    """The canvas of --frame, if given. Raises CommandError."""
    if args.frame is None:
        return None
    suffixes = style.suffix, os.path.splitext(out)[1].lower()
    if style.linear or style.depth in ("half", "float") or ".exr" in suffixes:
        raise CommandError("--frame: leave out --linear, OpenEXR and float samples; framing would clip what "
                           "is brighter than 1")
    return parse_frame(args.frame)


def _make_plan(args: argparse.Namespace, out: str, backdrop: Backdrop | None, style: Style, pattern: str
               ) -> tuple[Plan, Manifest | None]:
    """Make the plan and, if OUT is a folder, its record. Raises OSError if inputs or OUT cannot be read."""
    kept = None if backdrop is None else backdrop.place
    found = find_sources(args.inputs, args.list, out)
    alpha = not args.mask and (backdrop is None or not backdrop.opaque)
    if not is_folder(found.several or bool(pattern), out, alpha=alpha, style=style):
        return plan_one(found.inputs[0].place, out, force=args.force, backdrop=kept), None
    manifest = Manifest(out, _settings(args, backdrop), args.force)
    plan = plan_folder(found.inputs, out, manifest, force=args.force, backdrop=kept, suffix=style.suffix,
                       pattern=pattern)
    plan.refusals[:0], plan.others = found.left_out, found.others
    return plan, manifest


def _work(args: argparse.Namespace, plan: Plan, manifest: Manifest | None, backdrop: Backdrop | None,
          style: Style, frame: Frame | None) -> list[tuple[str, str]]:
    """Do the plan's jobs; return (source, reason) of those that failed."""
    if args.engine == "ray":
        from .cluster import Cluster

        engine = Cluster(args.model, args.dtype, args.adapters, args.address)
    else:
        choice = prompt_options(args)
        engine = Plain(args.model, args.dtype, args.adapters,
                       partial(choice.choose, open_selector()) if choice else None)
    if manifest is not None:
        try:
            manifest.add(plan.new)
        except OSError as error:
            raise CommandError(f"{args.out}: cannot be written ({error.strerror or error})") from None
    options = CutOptions(engine.config, args.size, args.mask, args.refine, backdrop, args.clean_edges,
                         args.force, style, args.despill or "", frame)
    return _report_outcomes(engine.run(plan.jobs, options), len(plan.jobs))


def _report_outcomes(outcomes: Iterable[Outcome], total: int) -> list[tuple[str, str]]:
    """Count the outcomes and print errors as they arrive; return (source, reason) of those that failed."""
    failed = []
    with Progress(total) as progress:
        for outcome in outcomes:
            progress.count(failed=bool(outcome.error))
            if outcome.error:
                failed.append((outcome.job.source, outcome.error))
                say(outcome.error)
            elif outcome.remark:
                say(outcome.remark)
    return failed


def _settings(args: argparse.Namespace, backdrop: Backdrop | None) -> dict[str, object]:
    """The settings that a result depends on, beside its source."""
    behind = args.background
    if backdrop is not None and backdrop.content:
        behind = f"{backdrop.place} {hashlib.sha256(backdrop.content).hexdigest()}"
    choice = prompt_options(args)
    return {**identify(find_checkpoint(args.model), args.adapters), "size": args.size, "dtype": args.dtype,
            "mask": args.mask, "background": behind, "clean edges": args.clean_edges,
            **({"refine": args.refine} if args.refine else {}),
            **({"frame": args.frame} if args.frame else {}),
            **({"subject": choice.settings()} if choice else {}), **_storage_settings(args)}


def _storage_settings(args: argparse.Namespace) -> dict[str, object]:
    """Those settings of colours and storage that differ from the defaults."""
    names = ("despill", "depth", "linear", "premultiplied", "exif")
    given = {name: getattr(args, name) for name in names}
    given["quality"] = 0 if args.quality == DEFAULT_STYLE.quality else args.quality
    given["format"] = "" if f".{args.format}" == DEFAULT_STYLE.suffix else args.format
    return {key: value for key, value in given.items() if value}


def _write_report(place: str, failed: list[tuple[str, str]]) -> None:
    """Write a table of the failed files and the reasons; remove that of an earlier run if none failed."""
    if not failed:
        if places.exists(place):
            places.remove(place)
        return
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(("file", "reason"))
    table.writerows((source, reason.removeprefix(f"{source}: ")) for source, reason in failed)
    places.write(place, text.getvalue().encode("utf-8", "surrogateescape"), force=True)
