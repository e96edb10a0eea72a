"""One picture's way: read, matte, finish. The engines differ in where they take which step, and in nothing else.

What goes from one step to the next is small enough to be sent from machine to machine: the file's bytes (never its
pixels at full size), the network's input, its alpha at the network's size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ... import Config, is_out_of_memory
from ...composite import parse_colour
from ...files.errors import why_not_read
from ...imaging import pictures
from ...matting import foreground
from ...matting.predict import full_alpha, network_input
from ...network.config import network_size
from ..options import CommandError
from ..runner import Runner
from . import places
from .manifest import Job

BATCH_PIXELS, BATCH = 8 * 1024**2, 16   # of network inputs in one batch, and pictures at most


@dataclass(frozen=True)
class Look:
    """What becomes of every picture. size: as for `birefnet.matte`; force: as for `places.write`."""

    config: Config
    size: int | tuple[int, int] | None
    mask: bool
    backdrop: Backdrop | None
    clean_edges: bool
    force: bool

    def batch(self) -> int:
        """How many pictures make a batch: fewer where the network's input is larger."""
        height, width = network_size(self.config, 1024, 1024, self.size)
        return max(1, min(BATCH, BATCH_PIXELS // (height * width)))


@dataclass
class Picture:
    """A job on its way; `image` is kept where the next step is in the same process."""

    job: Job
    content: bytes = b""
    image: Tensor | None = None  # [1,H,W,C] in 0..1
    x: Tensor | None = None      # the network's input [1,3,h,w]
    small: Tensor | None = None  # its alpha [1,h,w]
    error: str = ""              # one sentence; such a picture goes through the other steps as it is


@dataclass(frozen=True)
class Outcome:
    """What came of a job: written where `error` is empty. empty: no pixel of it is rather subject than background."""

    job: Job
    error: str = ""
    empty: bool = False


def read(job: Job, look: Look, *, keep: bool) -> Picture:
    """The picture with the network's input; `keep`: and its pixels, which else are decoded anew by `finish`."""
    try:
        content = _fetch(job.source)
        image = pictures.read(job.source, content)
        x = network_input(image[0], look.config, look.size)
        return Picture(job, content, image, x) if keep else Picture(job, content, x=x)
    except pictures.PictureError as error:
        return Picture(job, error=str(error))
    except (RuntimeError, MemoryError) as error:
        return Picture(job, error=_no_memory(job, error))


def matte(runner: Runner, batch: list[Picture]) -> None:
    """Gives each picture its alpha; those of equal network size go through the network together."""
    sizes: dict[tuple[int, ...], list[Picture]] = {}
    for picture in batch:
        if not picture.error:
            sizes.setdefault(tuple(picture.x.shape[2:]), []).append(picture)
    for group in sizes.values():
        try:
            alphas = runner.network_alpha(torch.cat([picture.x for picture in group]))
            for picture, small in zip(group, alphas):
                picture.small, picture.x = small, None
        except (RuntimeError, MemoryError) as error:
            for picture in group:
                picture.error = _no_memory(picture.job, error)


def finish(picture: Picture, look: Look) -> Outcome:
    """Writes the result."""
    job = picture.job
    if picture.error:
        return Outcome(job, picture.error)
    try:
        image = pictures.read(job.source, picture.content) if picture.image is None else picture.image
        alpha = full_alpha(picture.small, image[0])
        if look.mask:
            result = alpha[..., None]
        else:
            colours = foreground.estimate(image, alpha) if look.clean_edges else image
            result = pictures.cutout(colours, alpha)
            if look.backdrop is not None:
                result = pictures.over(result, look.backdrop.covering(image))
        places.write(job.target, pictures.encode(job.target, result), force=look.force or bool(job.replaces))
    except FileExistsError:
        return Outcome(job, f"{job.target}: exists; --force overwrites")
    except OSError as error:
        return Outcome(job, f"{job.target}: cannot be written ({error.strerror or error})")
    except pictures.PictureError as error:
        return Outcome(job, str(error))
    except (RuntimeError, MemoryError) as error:
        return Outcome(job, _no_memory(job, error))
    return Outcome(job, empty=bool(alpha.amax() < 0.5))


def _fetch(source: str) -> bytes:
    try:
        return places.read(source)
    except OSError as error:
        raise pictures.PictureError(f"{source}: {why_not_read(error, 'a picture file')}") from None


def _no_memory(job: Job, error: BaseException) -> str:
    if not is_out_of_memory(error):
        raise error
    return f"{job.source}: not enough memory; a smaller --size needs less"


@dataclass
class Backdrop:
    """What --background names: a colour word, #hex or CSS colour function, else a picture file (`place`). `opaque`: a
    subject over it has no alpha."""

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
            self.place = places.place(self.text)
        if not places.exists(self.place):
            raise CommandError(f"--background {self.text}: expected a colour (white, #20a0ff) or a picture file")
        try:
            self.content = _fetch(self.place)
            self.opaque = pictures.read(self.place, self.content).shape[-1] == 3  # and it can be read
        except pictures.PictureError as error:
            raise CommandError(f"--background {error}") from None

    def covering(self, image: Tensor) -> Tensor:
        """The background at the size of `image` [1, H, W, C]: [1, H, W, 3 or 4], a picture cropped to fill it."""
        _, height, width, _ = image.shape
        if self.colour is None:
            return pictures.read_to_cover(self.place, height, width, self.content)
        return self.colour.expand(1, height, width, -1)
