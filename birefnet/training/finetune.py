"""Fine-tuning on a few pictures: a checkpoint's head, low-rank adapters in its backbone, or everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoint.adapters import Adapter, make_metadata
from ..data.check import LABEL_LEVEL
from ..device.dtypes import training_dtype
from ..device.memory import is_out_of_memory
from ..device.passes import OutOfMemory
from ..imaging.resize import resample
from ..matting.predict import resize_to_network
from ..network.birefnet import BiRefNet
from ..network.config import network_size
from .learner import Learner
from .losses import WEIGHTS
from .low_rank import extract_differences, extract_low_rank, make_low_rank

# Peak learning rates of AdamW for a backbone whose first stage is RATES_WIDTH channels wide.
RATES = {"head": 3e-3, "lora": 1e-2, "all": 5e-4}
RATES_WIDTH = 32
HEAD_PREFIX = "decoder."     # of the tensors that "head" trains
WARM_UP_SHARE = 0.05         # of the steps
LEAST_CROP = 0.6             # share of each side
RECENT_SHARE = 0.1           # share of the steps, at the end, over which `Tuned.loss` is averaged


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned network.

    Args:
        model: the network in form "plain" and eval mode.
        adapter: the trained changes; None if everything was trained.
        losses: one per step.
    """

    model: BiRefNet
    adapter: Adapter | None
    losses: list[float]

    @property
    def loss(self) -> float:
        """The mean over the last steps."""
        last = self.losses[-max(1, round(RECENT_SHARE * len(self.losses))):]
        return sum(last) / max(1, len(last))


def finetune(
    model: BiRefNet,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    *,
    what: str = "head",
    steps: int = 300,
    rate: float | None = None,
    rank: int = 8,
    batch: int = 4,
    size: int | None = None,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
    relieve: Callable[[], None] = lambda: None,
) -> Tuned:
    """Fine-tune a network on a few pictures and masks, deterministically for a `seed`.

    Each step sees `batch` pictures, mirrored, cropped and recoloured at random; batch norm keeps its
    statistics. If memory runs out, relieve() is called, and the step is repeated in smaller pieces, with the
    same numbers.

    Args:
        model: in form "plain", float32, on the device to train on; it is changed, and returned.
        images: each [H,W,C] in 0..1, C 1, 3 or 4 as for birefnet.matte, of any size; or all as [N,H,W,C].
        masks: one per image, of its size, [H,W] in 0..1, 1 = subject.
        what: "head" trains the decoder, "lora" low-rank pairs in the backbone's linear layers, "all"
            everything.
        steps: number of steps.
        rate: peak learning rate of AdamW, None for `choose_rate`; it rises for a twentieth of the steps and
            falls along a cosine.
        rank: of the low-rank pairs.
        batch: pictures per step.
        size: network size as birefnet.network_size takes it, None for the checkpoint's own (for a checkpoint
            that follows the photograph, its size for the first one).
        seed: of all random numbers.
        report: report(step, loss) is called after every step, and may raise to stop.
        relieve: called before a step is repeated in smaller pieces.

    Returns:
        See `Tuned`.

    Raises:
        ValueError: the pictures, masks or numbers cannot be learned from.
        OutOfMemory: memory runs out with one picture at a time.
        FloatingPointError: the loss is not finite.
        PackageError: kornia is missing.
    """
    check_input(images, masks, what, steps, rank, batch)
    metadata = make_metadata(what, model, *((rank, rank) if what == "lora" else ()))
    before = {name: tensor.clone() for name, tensor in model.decoder.state_dict(prefix=HEAD_PREFIX).items()
              if tensor.is_floating_point()}
    learning = {"head": model.decoder.parameters, "all": model.parameters,
                "lora": lambda: make_low_rank(model, rank, rank, seed)}[what]()
    learner = Learner(model.eval(), 0.0, WEIGHTS["general"], parameters=learning, seed=seed,
                      dtype=training_dtype(next(model.parameters()).device))
    views = draw_batches(images, masks, network_size(model.config, *masks[0].shape, size), batch, seed)
    losses: list[float] = []
    for step in range(steps):
        learner.rate = (rate or choose_rate(what, model)) * schedule(step, steps)
        losses.append(train_step_in_pieces(learner, *next(views), relieve))
        report(step + 1, losses[-1])
    changes = {"head": lambda: extract_differences(before, model.state_dict()),
               "lora": lambda: extract_low_rank(model), "all": lambda: None}[what]()
    return Tuned(model.requires_grad_(False), None if changes is None else Adapter(changes, metadata), losses)


def check_input(images: Sequence[Tensor], masks: Sequence[Tensor], what: str, *numbers: int) -> None:
    """Raise ValueError for pictures, masks or numbers that cannot be learned from."""
    if what not in RATES:
        raise ValueError(f"Set what to one of {', '.join(map(repr, RATES))}: it is {what!r}")
    if not len(images) or len(images) != len(masks):
        raise ValueError(f"Connect pictures and a mask for each: got {len(images)} pictures and {len(masks)} "
                         "masks")
    for image, mask in zip(images, masks):
        if image.ndim != 3 or mask.shape != image.shape[:2]:
            raise ValueError(f"Resize each mask to its picture [H,W,C]: got a picture {list(image.shape)} "
                             f"and a mask {list(mask.shape)}")
    if min(numbers) < 1:
        raise ValueError("Set steps, rank and batch to 1 or more: got "
                         f"{', '.join(map(str, numbers))}")
    brightest = max(float(mask.amax()) for mask in masks)
    if 0 < brightest < LABEL_LEVEL:
        raise ValueError(f"Make the subject white (1): the masks' brightest level is {brightest * 255:.3g} "
                         "of 255, as in masks of labels")
    if brightest < 0.5:
        raise ValueError("Connect masks with a subject (1 = subject), or invert them: the masks are empty")


def choose_rate(what: str, model: BiRefNet) -> float:
    """The default peak learning rate: inversely proportional to the layers' width (Yang et al. 2022)."""
    return RATES[what] * RATES_WIDTH / model.config.widths[0]


def schedule(step: int, steps: int) -> float:
    """The share of the peak rate at a step: a linear rise, then half a cosine down to nearly 0."""
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def train_step_in_pieces(learner: Learner, images: Tensor, alphas: Tensor, relieve: Callable[[], None]
                         ) -> float:
    """Do one step; whenever memory runs out, this and later batches are split into smaller pieces.

    Args:
        learner, images, alphas: see `Learner.train_step`.
        relieve: called before the step is repeated.

    Returns:
        The loss.

    Raises:
        OutOfMemory: memory runs out with one picture at a time.
    """
    while True:
        try:
            return learner.train_step(images, alphas)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        relieve()  # outside `except`: there the error's traceback holds the failed step's tensors
        if learner.accumulate >= len(images):
            raise OutOfMemory("Choose a smaller size, low-rank adapters or the head instead of everything, "
                              "or a lighter checkpoint: out of memory with one picture at a time")
        learner.accumulate *= 2


def draw_batches(
    images: Sequence[Tensor], masks: Sequence[Tensor], size: tuple[int, int], batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches endlessly: images [batch,3,h,w] and alphas [batch,1,h,w]. All pictures are drawn before
    one is repeated."""
    random = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while True:
        while len(order) < batch:
            order += torch.randperm(len(images), generator=random).tolist()
        chosen, order = order[:batch], order[batch:]
        views = [draw_view(images[i], masks[i], size, random) for i in chosen]
        yield torch.cat([image for image, _ in views]), torch.cat([alpha for _, alpha in views])


def draw_view(
    image: Tensor, mask: Tensor, size: tuple[int, int], random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a random crop of a picture [H,W,C] and mask [H,W], mirrored in half of the cases, with varied
    colours: [1,3,h,w] and [1,1,h,w]."""
    draws = torch.rand(4, generator=random).tolist()
    window = []
    for side, share, place in zip(mask.shape, draws[:2], draws[2:]):
        length = max(1, round(side * (LEAST_CROP + (1 - LEAST_CROP) * share)))
        start = round((side - length) * place)
        window.append(slice(start, start + length))
    rows, columns = window
    seen = resize_to_network(image[rows, columns], size)
    alpha = resample(mask[rows, columns].float()[None, None], size)
    if torch.rand((), generator=random) < 0.5:
        seen, alpha = seen.flip(3), alpha.flip(3)
    return vary_colours(seen, random), alpha.clamp(0, 1)


def vary_colours(image: Tensor, random: torch.Generator) -> Tensor:
    """Change exposure, contrast, saturation and tint of [1,3,h,w] in 0..1 at random."""
    exposure, contrast, saturation = (1 + 0.25 * (2 * torch.rand(3, generator=random) - 1)).tolist()
    tint = 1 + 0.08 * (2 * torch.rand(1, 3, 1, 1, generator=random) - 1)
    grey = image.mean(1, keepdim=True)
    x = grey + saturation * (image - grey)
    mean = grey.mean()
    return (exposure * (mean + contrast * (x * tint - mean))).clamp(0, 1)
