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
from ...matting.temporal import Smoother
from ..options import MEASURED, CommandError
from ..runner import find_checkpoint, open_model, say

KINDS = {".mp4": "h264", ".webm": "vp9", ".mov": "prores", "": "png", ".webp": "webp", ".gif": "gif",
         ".png": "apng", ".apng": "apng"}


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
    flat = args.mask or args.background is not None
    kind = _kind(out, flat, args.codec)
    read = [path.resolve() for path in (source, Path(args.background or source))]
    if out.exists() and (not args.force or out.is_dir() or out.resolve() in read):
        raise CommandError(f"{out}: exists; --force overwrites files, but no folder and nothing that is read")
    if not 0 <= args.smoothing <= 1:
        raise CommandError(f"--smoothing {args.smoothing:g}: expected 0 to 1")
    try:
        with video.open_clip(source) as clip:
            clip, said = video.adapt(clip, kind)
            look, mute = _look(args, clip), kind in video.ANIMATIONS and clip.sound() is not None
            runner = open_model(find_checkpoint(args.model), args.dtype, args.adapters)
            matting = video.matting(clip, partial(_refined_mattes, runner, args.size, args.refine), look,
                                    see=video.seen_by_networks(clip),
                                    smooth=Smoother(args.smoothing) if args.smoothing else None,
                                    colours=None if args.mask else Colours(args.despill or ""))
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
    for sentence in said:
        say(f"{out}: {sentence}")
    if mute:
        say(f"{out}: without the sound, which an animated picture cannot hold")
    if kind == "gif" and not flat:
        say(f"{out}: a GIF has one bit of alpha, so soft edges are cut hard; .webp and .png keep them")
    return 0


def _kind(out: Path, flat: bool, codec: str | None) -> str:
    """The kind for `video.writing`, by OUT's suffix. flat: the result has no alpha. codec: of an .mp4."""
    kind = KINDS.get(out.suffix.lower())
    if kind is None:
        raise CommandError(f"{out}: expected a name that ends in .mp4, .webm, .mov, .webp, .gif or .png, or a "
                           "folder's")
    if kind not in video.ANIMATIONS and flat != (kind == "h264"):
        raise CommandError(f"{out}: " + ("--background and --mask make an .mp4" if flat else
                                         "an .mp4 has no transparency: take .webm or .mov, --background or "
                                         "--mask"))
    if codec and kind != "h264":
        raise CommandError(f"--codec {codec}: only an .mp4 has a choice of codecs; leave it out for {out}")
    return codec or kind


def _refined_mattes(
    runner: Runner,
    size: int | tuple[int, int] | None,
    refinement: Mapping[str, float],
    images: Iterator[Tensor],
) -> Iterator[tuple[Tensor, Tensor]]:
    for picture, alpha in runner.mattes(images, size=size):
        yield picture, refine(alpha, **refinement) if refinement else alpha


class Colours:
    """The subject's own colours of each frame. despill: the screen's colour as CSS, MEASURED, or ""; measured
    in the first frame that shows it, so that it does not flicker."""

    def __init__(self, despill: str) -> None:
        self._despill = despill
        self._screen = torch.tensor(composite.parse_colour(despill)[:3]) if despill not in ("", MEASURED) else None

    def __call__(self, picture: Tensor, alpha: Tensor) -> Tensor:
        colours = foreground.estimate(picture, alpha)
        if not self._despill:
            return colours
        if self._screen is None:
            self._screen = foreground.measure_screen(picture[0], alpha[0])
        return foreground.despill(colours, self._screen)


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
    if path.suffix.lower() not in pictures.suffixes() or pictures.is_animated(path.read_bytes()):
        return partial(video.open_clip, path)
    try:
        return partial(video.Pictures, pictures.read(path), clip.rate)
    except pictures.PictureError as error:
        raise CommandError(f"--background {error}") from None
