"""Per-image pipeline (read, matte, finish), shared by both engines.

The data passed between steps is small enough to be sent between machines: the file's bytes (instead of its
pixels at full size), the network's input, alpha at the network's size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ... import Config, is_out_of_memory
from ...composite import parse_colour
from ...files.errors import UserError, why_not_read
from ...imaging import photographs, pictures
from ...imaging.colour import to_linear
from ...masks import refine
from ...matting import foreground
from ...matting.predict import full_alpha, network_input
from ...matting.runner import Runner
from ...network.config import network_size
from ..colours import to_colour
from ..options import MEASURED, CommandError
from . import places
from .frame import Frame
from .manifest import Job

BATCH_PIXELS = 8 * 1024**2  # of all network inputs in a batch
MAX_BATCH = 16              # pictures

# (pictures → alpha, picture [1,H,W,C]) → alpha [1,H,W] of the chosen subjects.
Choose = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class CutOptions:
    """How every picture is cut out.

    Args:
        config: of the network.
        size: as for `birefnet.matte`.
        mask: write alpha instead of a cut-out.
        refine: arguments of `masks.refine`.
        backdrop: the background, or None for a cut-out.
        clean_edges: estimate the subject's colours in soft edges.
        force: as for `places.write`.
        style: how results are stored.
        despill: the screen's colour as CSS, MEASURED, or "".
        frame: the canvas, if not the photograph's.
    """

    config: Config
    size: int | tuple[int, int] | None
    mask: bool
    refine: Mapping[str, float]
    backdrop: Backdrop | None
    clean_edges: bool
    force: bool
    style: photographs.Style = photographs.DEFAULT_STYLE
    despill: str = ""
    frame: Frame | None = None

    def batch(self) -> int:
        """Pictures in a batch: fewer for larger network inputs."""
        height, width = network_size(self.config, 1024, 1024, self.size)
        return max(1, min(MAX_BATCH, BATCH_PIXELS // (height * width)))


@dataclass
class Picture:
    """A job in the pipeline; `photograph` is kept only if the next step is in the same process."""

    job: Job
    content: bytes = b""
    photograph: photographs.Photograph | None = None
    x: Tensor | None = None      # the network's input [1,3,h,w]
    small: Tensor | None = None  # its alpha [1,h,w]
    alpha: Tensor | None = None  # or, of a chosen subject, alpha [1,H,W]
    error: str = ""              # one sentence; the other steps then pass the picture on


@dataclass(frozen=True)
class Outcome:
    """The result of a job: written if `error` is "". remark: a sentence about the result, or ""."""

    job: Job
    error: str = ""
    remark: str = ""


def read(job: Job, options: CutOptions, *, keep: bool) -> Picture:
    """Read a picture and prepare the network's input. keep: the pixels, else `finish` decodes them again."""
    try:
        content = _fetch(job.source)
        photograph = photographs.read(job.source, content, options.style, _result_name(job, options))
        x = network_input(photograph.srgb[0], options.config, options.size)
        return Picture(job, content, photograph, x) if keep else Picture(job, content, x=x)
    except pictures.PictureError as error:
        return Picture(job, error=str(error))
    except (RuntimeError, MemoryError) as error:
        return Picture(job, error=_no_memory(job, error))


def matte(runner: Runner, batch: list[Picture]) -> None:
    """Compute each picture's alpha; pictures of equal network size go through the network together."""
    sizes: dict[tuple[int, ...], list[Picture]] = {}
    for picture in batch:
        if not picture.error:
            sizes.setdefault(tuple(picture.x.shape[2:]), []).append(picture)
    for group in sizes.values():
        try:
            alphas = runner.network_alpha(torch.cat([picture.x for picture in group]))
            for picture, small in zip(group, alphas):
                picture.small, picture.x = small, None
        except UserError as error:  # the output is not finite
            for picture in group:
                picture.error = f"{picture.job.source}: {error}"
        except (RuntimeError, MemoryError) as error:
            for picture in group:
                picture.error = _no_memory(picture.job, error)


def matte_chosen(runner: Runner, picture: Picture, choose: Choose, options: CutOptions) -> None:
    """Compute the alpha of the chosen subjects. The picture must have its `photograph`."""
    if picture.error:
        return
    try:
        picture.x = None
        picture.alpha = choose(lambda crops: runner.matte(crops, options.size),
                               picture.photograph.srgb)
    except (UserError, ValueError) as error:
        picture.error = f"{picture.job.source}: {error}"
    except (RuntimeError, MemoryError) as error:
        picture.error = _no_memory(picture.job, error)


def finish(picture: Picture, options: CutOptions) -> Outcome:
    """Write a picture's result; its error, if any, is passed on in the outcome."""
    job = picture.job
    if picture.error:
        return Outcome(job, picture.error)
    try:
        return Outcome(job, remark=_make_result(picture, options))
    except FileExistsError:
        return Outcome(job, f"{job.target}: exists; --force overwrites")
    except OSError as error:
        return Outcome(job, f"{job.target}: cannot be written ({error.strerror or error})")
    except pictures.PictureError as error:
        return Outcome(job, str(error))
    except UserError as error:  # such as values that are not finite
        return Outcome(job, f"{job.source}: {error}")
    except (RuntimeError, MemoryError) as error:
        return Outcome(job, _no_memory(job, error))


def _make_result(picture: Picture, options: CutOptions) -> str:
    """Make a picture's result and write it; return a remark for the user, or ""."""
    job, style, name = picture.job, options.style, _result_name(picture.job, options)
    photograph = picture.photograph or photographs.read(job.source, picture.content, style, name)
    alpha = picture.alpha
    if alpha is None:
        alpha = full_alpha(picture.small, photograph.srgb[0], options.config)
    if options.refine:
        alpha = refine(alpha, **options.refine)
    native = options.backdrop is None  # the colours are the photograph's own, which its profile describes
    light = photographs.holds_light(name, photograph, style)
    colours = photograph.srgb
    if not options.mask:
        if native or light:
            colours = photographs.colours_for(name, photograph, style)
        colours = _clean_colours(options, colours, alpha, light)
    result, limited = _lay_out(options, colours, alpha, light)
    content = photographs.encode(name, result, photograph, style, native=native)
    places.write(job.target, content, force=options.force or bool(job.replaces))
    return _remark(picture, alpha, photograph.narrow_bits, limited)


def _clean_colours(options: CutOptions, plate: Tensor, alpha: Tensor, linear: bool) -> Tensor:
    """The subject's colours [1,H,W,C] without the old background's, by the options.

    Args:
        options: of the run.
        plate: the photograph's colours [1,H,W,C].
        alpha: [1,H,W].
        linear: whether `plate` is linear light.
    """
    colours = foreground.estimate(plate, alpha) if options.clean_edges else plate
    if options.despill == MEASURED:
        screen = foreground.measure_screen(plate[0], alpha[0], linear=linear)
    elif options.despill:
        screen = to_colour(parse_colour(options.despill)[:3], linear=linear)
    else:
        return colours
    return foreground.despill(colours, screen, linear=linear)


def _lay_out(options: CutOptions, colours: Tensor, alpha: Tensor, linear: bool) -> tuple[Tensor, bool]:
    """Frame the subject and lay it over the background, by the options.

    Args:
        options: of the run.
        colours: of the subject, [1,H,W,C].
        alpha: [1,H,W].
        linear: whether the result is linear light.

    Returns:
        The result [1,h,w,C], and whether the subject is smaller on its canvas than wanted.
    """
    if options.frame is None:
        shown, limited = alpha, False
        result = alpha[..., None] if options.mask else pictures.cutout(colours, alpha)
    else:
        framed, shown, limited = options.frame.apply(colours, alpha)
        result = shown[..., None] if options.mask else pictures.cutout(framed, framed[..., 3])
    if options.backdrop is not None:
        behind = options.backdrop.covering(shown)
        if linear:
            behind = torch.cat([to_linear(behind[..., :3]), behind[..., 3:]], dim=-1)
        result = pictures.over(result, behind)
    return result, limited


def _result_name(job: Job, options: CutOptions) -> str:
    """The result's name, whose suffix decides the format, also for standard output."""
    return f"stdout{options.style.suffix}" if job.target == places.STANDARD else job.target


def _remark(picture: Picture, alpha: Tensor, narrow: int, limited: bool) -> str:
    """A sentence for the user about a result that may be unexpected, or ""."""
    job = picture.job
    if alpha.amax() < 0.5 and picture.alpha is not None:
        return f"{job.source}: no subject there, the result is empty; a point in its middle or a box may help"
    if alpha.amax() < 0.5:
        return f"{job.source}: nothing found, the result is empty; another checkpoint or --size may help"
    if limited:
        return (f"{job.source}: not enough room for the requested share; the subject fills what the margins "
                "leave")
    if pictures.is_animated(picture.content):
        return (f"{job.source}: an animation; this is its first frame (`python -m birefnet video` takes all "
                "of them)")
    if narrow:
        return f"{job.source}: its values end below {2**narrow}, so they are taken for {narrow} bits in 16"
    return ""


def _fetch(source: str) -> bytes:
    """Read a picture file's bytes. Raises PictureError."""
    try:
        return places.read(source)
    except OSError as error:
        raise pictures.PictureError(f"{source}: {why_not_read(error, 'a picture file')}") from None


def _no_memory(job: Job, error: BaseException) -> str:
    """The sentence for a job that ran out of memory; raises any other error."""
    if not is_out_of_memory(error):
        raise error
    return f"{job.source}: not enough memory; a smaller --size needs less"


@dataclass
class Backdrop:
    """A --background: a colour, or else a picture file.

    Args:
        text: a colour (word, #hex or CSS function), or the file.

    Raises:
        CommandError: it is neither a colour nor a picture.

    Attributes:
        place, content: of the file; None and b"" for a colour.
        colour: float [3], or [4] with opacity; None for a file.
        opaque: whether it has no transparency.
    """

    text: str
    place: str | None = field(init=False, default=None)
    colour: Tensor | None = field(init=False, default=None)
    content: bytes = field(init=False, default=b"")
    opaque: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        try:
            colour = parse_colour(self.text)
            self.opaque = colour[3] >= 1
            self.colour = torch.tensor(colour[:3] if self.opaque else colour)
            return
        except ValueError:
            self.place = places.parse(self.text)
        if not places.exists(self.place):
            raise CommandError(f"--background {self.text}: expected a colour (white, #20a0ff) or a picture "
                               "file")
        try:
            self.content = _fetch(self.place)
            self.opaque = pictures.read(self.place, self.content).shape[-1] == 3  # raises if damaged
        except pictures.PictureError as error:
            raise CommandError(f"--background {error}") from None

    def covering(self, shown: Tensor) -> Tensor:
        """The background [1,H,W,3 or 4] at the size of `shown` [1,H,W]; a picture is cropped to fill it."""
        _, height, width = shown.shape
        if self.colour is None:
            return pictures.read_to_cover(self.place, height, width, self.content)
        return self.colour.expand(1, height, width, -1)
