"""Reads, mattes and writes the planned pictures one after the other."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import ImageColor
from tqdm import tqdm

import weights

from ... import BiRefNet, CheckpointError, is_out_of_memory, load, matte, pictures
from .. import CommandError
from .plan import plan

EMPTY = 0.001  # coverage (the mean of alpha) under which a result is called empty


def cut(
    inputs: list[str],
    out: Path,
    checkpoint: str,
    size: int | tuple[int, int] | None,
    mask: bool,
    background: str | None,
    force: bool,
) -> int:
    """Writes the result of every input that can be read; 0 where all were written, else 1.

    `size` as for `birefnet.matte`. Raises `CommandError` where nothing can be done at all.
    """
    backdrop = None if background is None else _Backdrop(background)
    kept = None if backdrop is None else backdrop.path
    jobs, refusals = plan(inputs, out, alpha=not mask and backdrop is None, force=force, backdrop=kept)
    for refusal in refusals:
        _say(refusal)
    if not jobs:
        return 1
    written = 0
    model = _load(checkpoint)
    for source, target in tqdm(jobs, unit="picture", disable=None):
        try:
            image = pictures.read(source)
            alpha = _matte(model, image, size)
            if mask:
                result = alpha[..., None]
            else:
                result = pictures.cutout(image, alpha)
                if backdrop is not None:
                    result = pictures.over(result, backdrop.covering(image))
            pictures.write(target, result, force=force)
        except pictures.PictureError as error:
            _say(str(error))
        except FileExistsError:
            _say(f"{target}: exists; --force overwrites")
        except OSError as error:
            _say(f"{target}: cannot be written ({error.strerror or error})")
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _say(f"{source}: not enough memory; a smaller --size needs less")
        else:
            written += 1
            if alpha.mean() < EMPTY:
                _say(f"{source}: nothing found, the result is empty; another checkpoint or --size may help")
    _say(f"{written} of {len(jobs) + len(refusals)} written to {out}")
    return 0 if written == len(jobs) and not refusals else 1


class _Backdrop:
    """What --background names: a colour word, #hex or CSS colour function, else a picture file (`path`)."""

    def __init__(self, text: str) -> None:
        self.path, self.colour = None, None
        try:
            self.colour = torch.tensor(ImageColor.getrgb(text)) / 255
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


def _load(name: str) -> BiRefNet:
    """The checkpoint of that name or file, on the GPU where PyTorch has one with memory for it."""
    try:
        path = weights.find(name, weights.folders(), allow_paths=True)
        model = load(path, defaults=weights.settings(path))
    except (CheckpointError, OSError) as error:  # weights.NotFound is an OSError
        raise CommandError(str(error)) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CommandError(f"{path}: not enough memory to load it; a light checkpoint needs less") from None
    if torch.cuda.is_available():
        try:
            model.to("cuda")
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            _to_cpu(model)
    _say(f"{path.name} on {_device(model)}: {model.config.describe()}")
    row = weights.match(path)
    if row is not None and row.non_commercial:
        _say(f"{row.name} is for non-commercial use only ({row.license})")
    return model


def _matte(model: BiRefNet, image: torch.Tensor, size: int | tuple[int, int] | None) -> torch.Tensor:
    """Alpha [1, H, W]; once the GPU's memory was too small, this and all further pictures run on the CPU."""
    try:
        return matte(model, image, size)
    except RuntimeError as error:
        if _device(model) == "cpu" or not is_out_of_memory(error):
            raise
    _to_cpu(model)  # not in `except`: the error holds on to the GPU's tensors
    return matte(model, image, size)


def _to_cpu(model: BiRefNet) -> None:
    _say("the GPU's memory is too small: going on with the CPU, which is slower")
    model.to("cpu")
    torch.cuda.empty_cache()


def _device(model: BiRefNet) -> str:
    return next(model.parameters()).device.type


def _say(message: str) -> None:
    """One line on stderr, above the progress bar."""
    tqdm.write(message, file=sys.stderr)
