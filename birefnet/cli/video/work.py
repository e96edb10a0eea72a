"""Read, matte and write a video."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ... import __version__, composite, is_out_of_memory, video
from ...files.errors import UserError, join_names
from ...imaging import photographs, pictures
from ...imaging.colour import to_linear
from ...masks import refine
from ...matting import foreground
from ...matting.runner import Runner
from ...matting.subject import Follower, find_parting
from ...matting.temporal import Smoother
from ...video.frame_loop import Mattes
from ..cut.plan import frame_number
from ..cut.plan import numbered as numbered_name
from ..cut.sources import frames
from ..messages import say
from ..models import find_checkpoint, open_model
from ..options import MAX_LISTED, MEASURED, CommandError
from ..prompts import open_selector, prompt_options

# Kind of result for `video.writing`, by OUT's suffix.
KINDS = {".mp4": "h264", ".webm": "vp9", ".mov": "prores", "": "png", ".webp": "webp", ".gif": "gif",
         ".png": "apng", ".apng": "apng"}

NUMBERED = "numbered"  # kind of result: pictures numbered by a pattern with #


def matte_video(args: argparse.Namespace) -> int:
    """Write the matted video.

    Args:
        args: from the command's parser.

    Returns:
        Exit status 0.

    Raises:
        CommandError: it cannot be read, matted or written.
    """
    source, out = args.input, args.out
    flat = args.mask or args.background is not None
    style = photographs.Style(args.depth or "", args.linear, args.premultiplied)
    numbered = "#" in out.name
    kind = NUMBERED if numbered else _kind(out, flat, args.codec)
    _check_style(args, style, alpha=not flat, numbered=numbered)
    read = [path.resolve() for path in (source, Path(args.background or source))]
    if out.exists() and (not args.force or out.is_dir() or out.resolve() in read):
        raise CommandError(f"{out}: exists; --force overwrites files, but neither folders nor inputs")
    if not 0 <= args.smoothing <= 1:
        raise CommandError(f"--smoothing {args.smoothing:g}: expected 0 to 1")
    following = None
    try:
        with _open(source, args.rate, style, out) as clip:
            clip, said = video.adapt(clip, kind)
            render = _renderer(args, clip)
            mute = (numbered or kind in video.ANIMATIONS) and clip.sound() is not None
            runner = open_model(find_checkpoint(args.model), args.dtype, args.adapters)
            reopen = partial(_open, source, args.rate, style, out)
            mattes = following = _make_following(args, runner, reopen, kind)
            if following is None:
                mattes = partial(runner.mattes, size=args.size)
            colours = None if args.mask else Colours(args.despill or "", clip.linear)
            matting = video.matting(clip, partial(_refine_mattes, mattes, args.refine), render,
                                    to_network=video.network_conversion(clip),
                                    smooth=Smoother(args.smoothing) if args.smoothing else None,
                                    colours=colours)
            count = 0
            force = args.force or following is not None and following.can_resume()
            with _writing(args, clip, kind, style, force) as writer:
                for time, picture, _ in tqdm(matting, total=clip.count, unit="frame", disable=None):
                    writer.write(time, picture)
                    count += 1
    except UserError as error:  # of the video, or of a network whose output is not finite
        raise CommandError(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError(f"{source}: not enough memory; a smaller --size needs less") from None
    except KeyboardInterrupt:
        if following is not None and following.can_resume():
            say(f"{following.folder}: keeps the mattes so far; run the same command to resume")
        raise
    say(f"{count} frames written to {out}")
    for sentence in said:
        say(f"{out}: {sentence}")
    if mute:
        say(f"{out}: without the sound, which pictures cannot hold")
    if colours is not None and colours.unmeasured:
        say(f"{out}: " + _explain_unmeasured(colours.unmeasured, count))
    if kind == "gif" and not flat:
        say(f"{out}: a GIF has one bit of alpha, so soft edges are cut hard; .webp and .png keep them")
    if following is not None:
        video.discard_mattes(following.folder)
        if following.resumed:
            say(f"{following.resumed} mattes were kept from a run that was stopped")
        if following.lost:
            say(f"the subject was not found in {len(following.lost)} of them: {_format_runs(following.lost)}")
    return 0


def _open(source: Path, rate: Fraction, style: photographs.Style, out: Path) -> video.Clip:
    """Open a video file, an animation, or numbered pictures; `out` decides how pictures' values are read."""
    if "#" not in source.name or source.exists():
        return video.open_clip(source)
    paths = frames(str(source))
    if not paths:
        raise CommandError(f"{source}: no file matches")
    return video.Frames(paths, rate, style, out if "#" in out.name else "video.png")


def _writing(args: argparse.Namespace, clip: video.Clip, kind: str, style: photographs.Style, force: bool
             ) -> contextlib.AbstractContextManager:
    """Open the result's writer. Numbered pictures get the numbers of the input's, if it is numbered."""
    if kind != NUMBERED:
        return video.writing(args.out, clip, kind)
    source = str(args.input)
    digits = ([frame_number(path) for path in frames(source)] if "#" in args.input.name else [])

    def name(index: int) -> Path:
        number = digits[index] if digits else str(index + 1)
        return args.out.with_name(numbered_name(args.out.name, number))

    taken = {Path(path).resolve() for path in frames(source)} if digits else set()
    if taken & {name(index).resolve() for index in range(len(digits))}:
        raise CommandError(f"{args.out}: its pictures would replace those that are read; take another name")
    return contextlib.nullcontext(video.FrameFiles(name, clip, style, grey=args.mask, force=force))


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


def _make_following(
    args: argparse.Namespace, runner: Runner, open_clip: Callable[[], video.Clip], kind: str
) -> video.Following | None:
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
    return video.Following(partial(video.open_for_network, open_clip, kind),
                           partial(choice.choose, selector, alpha_of),
                           partial(Follower, alpha_of, selector), args.frame, report,
                           partial(find_parting, alpha_of, selector, choice.points) if only_points else None,
                           _kept_folder(args.out), _key(args, runner, choice.settings(), kind))


def _kept_folder(out: Path) -> Path:
    """The folder in which a run that follows a subject keeps its mattes until OUT is complete."""
    return out.with_name(f".{out.name}.following")


def _key(args: argparse.Namespace, runner: Runner, choice: Mapping[str, object], kind: str) -> str:
    """A key of clip, prompt, network and options; mattes that were kept under another key are not used."""
    read = frames(str(args.input)) if "#" in args.input.name else [args.input]
    files = [Path(file) for file in (*read, find_checkpoint(args.model), args.scribble) if file]
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
            self._screen = _colour(composite.parse_colour(despill)[:3], linear)

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


def _colour(rgb: Sequence[float], linear: bool) -> Tensor:
    """An sRGB colour as a tensor [3], converted to linear light if `linear`."""
    colour = torch.tensor(rgb)
    return to_linear(colour.view(1, 1, 3)).view(3) if linear else colour


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
        return video.rendering.Over(_colour(colour, clip.linear))
    if clip.linear:
        raise CommandError(f"--background {background}: behind linear light only a colour can be laid; take "
                           ".png or .tif for a file behind it")
    return video.rendering.Over(torch.zeros(3), _opener(path, clip))


def _opener(path: Path, clip: video.Clip) -> Callable[[], video.Clip]:
    """A function that opens a background's file as a clip; a still picture has a single frame."""
    if path.suffix.lower() not in pictures.suffixes() or pictures.is_animated(path.read_bytes()):
        return partial(video.open_clip, path)
    try:
        return partial(video.Pictures, pictures.read(path), clip.rate)
    except pictures.PictureError as error:
        raise CommandError(f"--background {error}") from None
