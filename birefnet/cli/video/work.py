"""Reads, mattes and writes a video."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ... import composite, is_out_of_memory, video
from ...files.errors import UserError
from ...imaging import pictures
from ...masks import refine
from ...matting import foreground
from ...matting.runner import Runner
from ...matting.subject import Follower
from ...matting.temporal import Smoother
from ..options import CommandError, listing
from ..prompts import choice_of, open_selector
from ..runner import find_checkpoint, open_model, say

# Pictures [H,W,C] one by one → (picture [1,H,W,C], alpha [1,H,W]) in order.
Mattes = Callable[[Iterator[Tensor]], Iterator[tuple[Tensor, Tensor]]]

KINDS = {".mp4": "h264", ".webm": "vp9", ".mov": "prores", "": "png"}


def matte_video(args: argparse.Namespace) -> int:
    """Writes the matted video.

    Args:
        args: from the command's parser.

    Returns:
        Exit status 0.

    Raises:
        CommandError: it cannot be read, matted or written.
    """
    source, out = args.input, args.out
    kind = _kind(out, flat=args.mask or args.background is not None)
    read = [path.resolve() for path in (source, Path(args.background or source))]
    if out.exists() and (not args.force or out.is_dir() or out.resolve() in read):
        raise CommandError(f"{out}: exists; --force overwrites files, but no folder and nothing that is read")
    if not 0 <= args.smoothing <= 1:
        raise CommandError(f"--smoothing {args.smoothing:g}: expected 0 to 1")
    try:
        with video.File(source) as clip:
            look = _look(args, clip)
            runner = open_model(find_checkpoint(args.model), args.dtype, args.adapters)
            mattes = following = _following(args, runner)
            if following is None:
                mattes = partial(runner.mattes, size=args.size)
            matting = video.matting(clip, partial(_refined, mattes, args.refine), look,
                                    smooth=Smoother(args.smoothing) if args.smoothing else None,
                                    colours=None if args.mask else foreground.estimate)
            count = 0
            with video.writing(out, clip, kind) as writer:
                for time, picture, _ in tqdm(matting, total=clip.count, unit="frame", disable=None):
                    writer.write(time, picture)
                    count += 1
    except UserError as error:  # of the video, or of a network whose numbers are not finite
        raise CommandError(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError(f"{source}: not enough memory; a smaller --size needs less") from None
    say(f"{count} frames written to {out}")
    if following is not None and following.lost:
        say(f"the subject was not found in {len(following.lost)} of them: {_in_words(following.lost)}")
    return 0


def _kind(out: Path, flat: bool) -> str:
    """The kind for `video.writing`, by OUT's suffix. flat: the result has no alpha."""
    kind = KINDS.get(out.suffix.lower())
    if kind is None:
        raise CommandError(f"{out}: expected a name that ends in .mp4, .webm or .mov, or a folder's")
    if flat != (kind == "h264"):
        raise CommandError(f"{out}: " + ("--background and --mask make an .mp4" if flat else
                                         "an .mp4 has no transparency: take .webm or .mov, --background or "
                                         "--mask"))
    return kind


def _following(args: argparse.Namespace, runner: Runner) -> video.Following | None:
    """Mattes of the subject that is meant; None where all that stands out is."""
    choice = choice_of(args)
    if choice is None:
        return None
    selector = open_selector()

    def alpha_of(crops: Tensor) -> Tensor:
        return runner.matte(crops, args.size)

    bar = tqdm(total=args.frame, unit="frame", desc="backwards", disable=None if args.frame else True, leave=False)
    return video.Following(partial(video.File, args.input), partial(choice.choose, selector, alpha_of),
                           partial(Follower, alpha_of, selector), args.frame,
                           lambda done, total: (bar.update(1), done == total and bar.close()))


def _in_words(frames: list[int]) -> str:
    """Runs of numbers in order: "3, 10-14 and 20"; the first few."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return listing([str(first) if first == last else f"{first}-{last}" for first, last in runs])


def _refined(
    mattes: Mattes, refinement: Mapping[str, float], images: Iterator[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    for picture, alpha in mattes(images):
        yield picture, refine(alpha, **refinement) if refinement else alpha


def _look(args: argparse.Namespace, clip: video.Clip) -> video.looks.Look:
    """What each frame becomes."""
    if args.mask:
        return video.looks.mask
    return _over(args.background, clip) if args.background else video.looks.cutout


def _over(background: str, clip: video.Clip) -> video.looks.Over:
    """What --background names: a file, else a colour."""
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
        return video.looks.Over(torch.tensor(colour))
    return video.looks.Over(torch.zeros(3), _opener(path, clip))


def _opener(path: Path, clip: video.Clip) -> Callable[[], video.Clip]:
    if path.suffix.lower() not in pictures.suffixes():
        return partial(video.File, path)
    try:
        return partial(video.Pictures, pictures.read(path), clip.rate)
    except pictures.PictureError as error:
        raise CommandError(f"--background {error}") from None
