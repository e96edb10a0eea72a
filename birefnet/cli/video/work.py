"""Read, matte and write a video."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ... import __version__, composite, is_out_of_memory, video
from ...files.errors import UserError, join_names
from ...imaging import photographs, pictures
from ...masks import refine
from ...matting import foreground
from ...matting.runner import Runner
from ...matting.subject import Follower, find_parting
from ...matting.temporal import Smoother
from ...video.frame_loop import Mattes
from ..colours import to_colour
from ..messages import say
from ..models import find_checkpoint, open_model
from ..numbered import fill_pattern, find_frames, frame_number
from ..options import MAX_LISTED, MEASURED, CommandError
from ..prompts import open_selector, prompt_options

# Kind of result for `video.writing`, by OUT's suffix.
KINDS = {".mp4": "h264", ".webm": "vp9", ".mov": "prores", "": "png", ".webp": "webp", ".gif": "gif",
         ".png": "apng", ".apng": "apng"}

NUMBERED = "numbered"  # kind of result: pictures numbered by a pattern with #


class Task(NamedTuple):
    """What is to be made.

    Args:
        kind: of the result: for `video.writing`, or NUMBERED.
        flat: whether it has no alpha.
        style: how numbered pictures are stored.
    """

    kind: str
    flat: bool
    style: photographs.Style


class Outcome(NamedTuple):
    """What was made.

    Args:
        count: frames.
        changes: sentences about what the result's kind does not hold.
        unmeasured: number of first frames in which --despill measured no screen.
        following: of the chosen subject, if there is one.
    """

    count: int
    changes: list[str]
    unmeasured: int
    following: video.Following | None


def matte_video(args: argparse.Namespace) -> int:
    """Write the matted video.

    Args:
        args: from the command's parser.

    Returns:
        Exit status 0.

    Raises:
        CommandError: it cannot be read, matted or written.
    """
    task = _check(args)
    _report(args, task, _run(args, task))
    return 0


def _check(args: argparse.Namespace) -> Task:
    """Check the options. Raises CommandError."""
    flat = args.mask or args.background is not None
    style = photographs.Style(args.depth or "", args.linear, args.premultiplied)
    numbered = "#" in args.out.name
    kind = NUMBERED if numbered else _kind(args.out, flat, args.codec)
    _check_style(args, style, alpha=not flat, numbered=numbered)
    read = [path.resolve() for path in (args.input, Path(args.background or args.input))]
    if args.out.exists() and (not args.force or args.out.is_dir() or args.out.resolve() in read):
        raise CommandError(f"{args.out}: exists; --force overwrites files, but neither folders nor inputs")
    if not 0 <= args.smoothing <= 1:
        raise CommandError(f"--smoothing {args.smoothing:g}: expected 0 to 1")
    return Task(kind, flat, style)


def _run(args: argparse.Namespace, task: Task) -> Outcome:
    """Read, matte and write the video. Raises CommandError."""
    with _explain_errors(args.input), _open(args, task) as source:
        clip, changes = video.adapt(source, task.kind)
        render = _renderer(args, clip)
        if (task.kind == NUMBERED or task.kind in video.ANIMATIONS) and clip.sound() is not None:
            changes = [*changes, "without the sound, which pictures cannot hold"]
        runner = open_model(find_checkpoint(args.model), args.dtype, args.adapters)
        following = _make_following(args, runner, task)
        mattes = partial(runner.mattes, size=args.size) if following is None else following
        colours = None if args.mask else Colours(args.despill or "", clip.linear)
        matting = video.matting(clip, partial(_refine_mattes, mattes, args.refine), render,
                                to_network=video.network_conversion(clip),
                                smooth=Smoother(args.smoothing) if args.smoothing else None,
                                colours=colours)
        count = 0
        force = args.force or following is not None and following.can_resume()
        with _keep_mattes(following), _writing(args, clip, task, force) as writer:
            for time, picture, _ in tqdm(matting, total=clip.count, unit="frame", disable=None):
                writer.write(time, picture)
                count += 1
    return Outcome(count, changes, 0 if colours is None else colours.unmeasured, following)


def _report(args: argparse.Namespace, task: Task, outcome: Outcome) -> None:
    """Print what was written, and what may be unexpected in it."""
    say(f"{outcome.count} frames written to {args.out}")
    for sentence in outcome.changes:
        say(f"{args.out}: {sentence}")
    if outcome.unmeasured:
        say(f"{args.out}: " + _explain_unmeasured(outcome.unmeasured, outcome.count))
    if task.kind == "gif" and not task.flat:
        say(f"{args.out}: a GIF has one bit of alpha, so soft edges are cut hard; .webp and .png keep them")
    following = outcome.following
    if following is None:
        return
    if following.resumed:
        say(f"{following.resumed} mattes were kept from a run that was stopped")
    if following.lost:
        say(f"the subject was not found in {len(following.lost)} of them: {_format_runs(following.lost)}")


@contextlib.contextmanager
def _explain_errors(source: Path) -> Iterator[None]:
    """Convert errors of the video, the network and the memory to CommandError."""
    try:
        yield
    except UserError as error:  # of the video, or of a network whose output is not finite
        raise CommandError(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError(f"{source}: not enough memory; a smaller --size needs less") from None


@contextlib.contextmanager
def _keep_mattes(following: video.Following | None) -> Iterator[None]:
    """Discard the mattes that are kept, unless the run fails and the same command can resume it. Says so."""
    kept = False
    try:
        yield
    except BaseException:
        kept = following is not None and following.can_resume()
        if kept:
            say(f"{following.folder}: keeps the mattes so far; run the same command to resume")
        raise
    finally:
        if following is not None and not kept:
            video.discard_mattes(following.folder)


def _open(args: argparse.Namespace, task: Task) -> video.Clip:
    """Open a video file, an animation, or numbered pictures."""
    if "#" not in args.input.name or args.input.exists():
        return video.open_clip(args.input)
    paths = find_frames(str(args.input))
    if not paths:
        raise CommandError(f"{args.input}: no file matches")
    return video.SequenceClip(paths, args.rate, task.style, args.out if task.kind == NUMBERED else None)


def _writing(args: argparse.Namespace, clip: video.Clip, task: Task, force: bool
             ) -> contextlib.AbstractContextManager[video.Writer]:
    """Open the result's writer. Numbered pictures get the numbers of the input's, if it is numbered."""
    if task.kind != NUMBERED:
        return video.writing(args.out, clip, task.kind)
    read = [Path(path) for path in find_frames(str(args.input))] if "#" in args.input.name else []

    def name(index: int) -> Path:
        number = frame_number(read[index].name) if read else str(index + 1)
        return args.out.with_name(fill_pattern(args.out.name, number))

    if {path.resolve() for path in read} & {name(index).resolve() for index in range(len(read))}:
        raise CommandError(f"{args.out}: its pictures would replace those that are read; take another name")
    return contextlib.nullcontext(video.FrameFiles(name, clip, task.style, grey=args.mask, force=force))


def _check_style(args: argparse.Namespace, style: photographs.Style, *, alpha: bool, numbered: bool) -> None:
    """Raise CommandError for storage options that OUT does not support."""
    if numbered:
        try:
            style.check(args.out, alpha)
        except pictures.PictureError as error:
            raise CommandError(str(error)) from None
    elif style.depth or style.premultiplied:
        raise CommandError("--depth and --premultiplied are for numbered pictures, such as -o cut.####.exr")


def _kind(out: Path, flat: bool, codec: str | None) -> str:
    """The kind for `video.writing`, by OUT's suffix. flat: the result has no alpha. codec: of an .mp4."""
    kind = KINDS.get(out.suffix.lower())
    if kind is None:
        raise CommandError(f"{out}: expected a name that ends in .mp4, .webm, .mov, .webp, .gif or .png, or "
                           "a folder's")
    if kind not in video.ANIMATIONS and flat != (kind == "h264"):
        raise CommandError(f"{out}: " + ("--background and --mask make an .mp4" if flat else
                                         "an .mp4 has no transparency: take .webm or .mov, --background or "
                                         "--mask"))
    if codec and kind != "h264":
        raise CommandError(f"--codec {codec}: only an .mp4 has a choice of codecs; leave it out for {out}")
    return codec or kind


def _make_following(args: argparse.Namespace, runner: Runner, task: Task) -> video.Following | None:
    """The mattes of the subject that the prompt options choose; None without such options."""
    choice = prompt_options(args)
    if choice is None:
        return None
    selector = open_selector()

    def alpha_of(crops: Tensor) -> Tensor:
        return runner.matte(crops, args.size)

    bar = tqdm(unit="frame", desc="backwards", disable=None, leave=False, delay=1)

    def report(done: int, total: int) -> None:
        bar.total = total
        bar.update(1)
        if done == total:
            bar.close()

    only_points = choice.points and not choice.boxes and choice.scribble is None
    parting = partial(find_parting, alpha_of, selector, choice.points) if only_points else None
    return video.Following(partial(video.open_for_network, partial(_open, args, task), task.kind),
                           partial(choice.choose, selector, alpha_of),
                           partial(Follower, alpha_of, selector), args.frame, report, parting,
                           _kept_folder(args.out), _key(args, runner, choice.settings(), task.kind))


def _kept_folder(out: Path) -> Path:
    """The folder in which a run that follows a subject keeps its mattes until OUT is complete."""
    return out.with_name(f".{out.name}.following")


def _key(args: argparse.Namespace, runner: Runner, choice: Mapping[str, object], kind: str) -> str:
    """A key of clip, prompt, network and options; mattes that were kept under another key are not used."""
    read = find_frames(str(args.input)) if "#" in args.input.name else [args.input]
    files = [Path(file) for file in (*read, find_checkpoint(args.model), *args.scribble)]
    stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    options = args.frame, args.size, args.adapters, str(runner.preferred_dtype), kind
    return repr((__version__, stamps, choice, options))


def _format_runs(frames: list[int]) -> str:
    """Format numbers as runs, the first few: "3, 10-14, 20 and 4 more"."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return join_names([f"{first}-{last}" if first < last else str(first) for first, last in runs], MAX_LISTED)


def _refine_mattes(
    mattes: Mattes, refinement: Mapping[str, float], images: Iterator[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Apply the operators of --refine to the mattes."""
    for picture, alpha in mattes(images):
        yield picture, refine(alpha, **refinement) if refinement else alpha


class Colours:
    """Estimates the subject's own colours in each frame.

    Args:
        despill: the screen's colour as CSS, MEASURED, or "". It is measured once, in the first frame that
            shows background, so that it does not flicker; the screen's light stays in the frames before.
        linear: whether the frames are linear light.

    Attributes:
        unmeasured: number of frames before that one.
    """

    def __init__(self, despill: str, linear: bool) -> None:
        self._despill, self._linear, self._screen = despill, linear, None
        self.unmeasured = 0
        if despill not in ("", MEASURED):
            self._screen = to_colour(composite.parse_colour(despill)[:3], linear=linear)

    def __call__(self, picture: Tensor, alpha: Tensor) -> Tensor:
        colours = foreground.estimate(picture, alpha)
        if not self._despill:
            return colours
        if self._screen is None:
            try:
                self._screen = foreground.measure_screen(picture[0], alpha[0], linear=self._linear)
            except foreground.NoBackgroundError:
                self.unmeasured += 1
                return colours
        return foreground.despill(colours, self._screen, linear=self._linear)


def _explain_unmeasured(unmeasured: int, count: int) -> str:
    """Say from which of `count` frames --despill measured did not remove the screen's light."""
    if unmeasured == count:
        return ("no frame shows background in which the screen's colour could be measured, so its light was "
                "not removed; --despill COLOUR removes it")
    first = "the first frame, which shows"
    if unmeasured > 1:
        first = f"the first {unmeasured} frames, which show"
    return (f"the screen's light was not removed from {first} no background in which its colour could be "
            "measured; --despill COLOUR removes it there, too")


def _renderer(args: argparse.Namespace, clip: video.Clip) -> video.rendering.Renderer:
    """The renderer of the frames: the mask, a cut-out, or over a background."""
    if args.mask:
        return video.rendering.mask
    return _over(args.background, clip) if args.background else video.rendering.cutout


def _over(background: str, clip: video.Clip) -> video.rendering.Over:
    """The renderer over --background: a file's picture or clip, else a colour."""
    path = Path(background)
    if not path.is_file():
        try:
            *colour, opacity = composite.parse_colour(background)
        except ValueError:
            raise CommandError(f"--background {background}: expected a colour (green, #00b140) or a file"
                               ) from None
        if opacity < 1:
            raise CommandError(f"--background {background}: a clip over a colour is opaque; for one with "
                               "transparency leave --background out and write .webm or .mov")
        return video.rendering.Over(to_colour(colour, linear=clip.linear))
    if clip.linear:
        raise CommandError(f"--background {background}: behind linear light only a colour can be laid; take "
                           ".png or .tif for a file behind it")
    return video.rendering.Over(torch.zeros(3), _opener(path, clip))


def _opener(path: Path, clip: video.Clip) -> Callable[[], video.Clip]:
    """A function that opens a background's file as a clip; a still picture has a single frame."""
    if path.suffix.lower() not in pictures.suffixes() or pictures.is_animated(path.read_bytes()):
        return partial(video.open_clip, path)
    try:
        return partial(video.TensorClip, pictures.read(path), clip.rate)
    except pictures.PictureError as error:
        raise CommandError(f"--background {error}") from None
