"""Reads, mattes and writes the planned pictures one after the other."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from ... import foreground, is_out_of_memory, pictures
from ...composite import parse
from .. import CommandError
from .._running import open_model, say
from .plan import plan

EMPTY = 0.001  # coverage (the mean of alpha) under which a result is called empty


def cut(
    inputs: list[str],
    out: Path,
    checkpoint: str,
    dtype: str,
    size: int | tuple[int, int] | None,
    mask: bool,
    background: str | None,
    clean_edges: bool,
    force: bool,
) -> int:
    """Writes the result of every input that can be read; 0 where all were written, else 1.

    `dtype`: a name of `precision.DTYPES` or "auto"; `size` as for `birefnet.matte`. Raises `CommandError` where nothing
    can be done at all.
    """
    backdrop = None if background is None else _Backdrop(background)
    kept = None if backdrop is None else backdrop.path
    jobs, refusals = plan(inputs, out, alpha=not mask and backdrop is None, force=force, backdrop=kept)
    for refusal in refusals:
        say(refusal)
    if not jobs:
        return 1
    written = 0
    runner = open_model(checkpoint, dtype)
    for source, target in tqdm(jobs, unit="picture", disable=None):
        try:
            image = pictures.read(source)
            alpha = runner.matte(image, size)
            if mask:
                result = alpha[..., None]
            else:
                colours = foreground.estimate(image, alpha) if clean_edges else image
                result = pictures.cutout(colours, alpha)
                if backdrop is not None:
                    result = pictures.over(result, backdrop.covering(image))
            pictures.write(target, result, force=force)
        except pictures.PictureError as error:
            say(str(error))
        except FileExistsError:
            say(f"{target}: exists; --force overwrites")
        except OSError as error:
            say(f"{target}: cannot be written ({error.strerror or error})")
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            say(f"{source}: not enough memory; a smaller --size needs less")
        else:
            written += 1
            if alpha.mean() < EMPTY:
                say(f"{source}: nothing found, the result is empty; another checkpoint or --size may help")
    say(f"{written} of {len(jobs) + len(refusals)} written to {out}")
    return 0 if written == len(jobs) and not refusals else 1


class _Backdrop:
    """What --background names: a colour word, #hex or CSS colour function, else a picture file (`path`)."""

    def __init__(self, text: str) -> None:
        self.path, self.colour = None, None
        try:
            colour = parse(text)
            self.colour = torch.tensor(colour if colour[3] < 1 else colour[:3])
            return
        except ValueError:
            self.path = Path(text)
        if not self.path.exists():
            raise CommandError(f"--background {text}: expected a colour (white, #20a0ff) or a picture file")
        try:
            pictures.read(self.path)  # before the work starts
        except pictures.PictureError as error:
            raise CommandError(f"--background {error}") from None

    def covering(self, image: torch.Tensor) -> torch.Tensor:
        """The background at the size of `image` [1, H, W, C]: [1, H, W, 3 or 4], a picture cropped to fill it."""
        _, height, width, _ = image.shape
        if self.colour is None:
            return pictures.read_to_cover(self.path, height, width)
        return self.colour.expand(1, height, width, -1)
