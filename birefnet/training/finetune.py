"""Fine-tuning on a few pictures: a checkpoint's head, low-rank adapters in its backbone, or all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoint import adapters
from ..checkpoint.adapters import Adapter
from ..data.check import LABELS
from ..device.dtypes import cpu_multiplies_bfloat16
from ..device.memory import is_out_of_memory
from ..device.passes import OutOfMemory
from ..imaging.resize import resample
from ..matting.predict import resize_to_network
from ..network.birefnet import BiRefNet
from ..network.config import network_size
from .learner import Learner
from .losses import WEIGHTS

RATES = {"head": 3e-3, "lora": 1e-2, "all": 5e-4}  # AdamW's at its peak, for a backbone whose first stage is WIDTH wide
WIDTH = 32
HEAD = "decoder."        # names of the tensors that "head" teaches
WARM_UP = 0.05           # share of the steps in which the rate rises
SMALLEST_CROP = 0.6      # of either side
RECENT = 0.1             # share of the steps, the last ones, whose mean loss is told


@dataclass(frozen=True)
class Tuned:
    """`model`: the plain network in eval mode, with what it learned; `adapter`: the same as a small file, where not
    everything was taught; `losses`: of every step."""

    model: BiRefNet
    adapter: Adapter | None
    losses: list[float]

    @property
    def loss(self) -> float:
        """The mean of the last steps."""
        last = self.losses[-max(1, round(RECENT * len(self.losses))):]
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
    """Teach a network what is the subject in pictures like these, so that it finds it in others like them.

    model: form "plain", float32, on the device that is to learn; it is changed, and is the result's.
    images: of any size, each [H,W,C] in 0..1, C = 1, 3 or 4 as birefnet.matte takes them, or all as [N,H,W,C];
    masks: one for each image and of its size, [H,W] in 0..1, 1 = subject.
    what: "head" teaches the decoder, "lora" low-rank pairs of `rank` in the backbone's linear layers, "all" everything.
    rate: peak learning rate of AdamW, None: one for the kind and the build; it rises for a twentieth of the steps and
    falls along a cosine. size: of the network as birefnet.network_size takes it, None: the checkpoint's own (of one
    that follows the photograph, its size for the first). Each step sees `batch` pictures, mirrored, cropped and
    recoloured at random; batch norm keeps its statistics. Deterministic with `seed`.
    report(step, loss) is called after every step, and may raise to stop. When memory runs out, relieve() is called and
    the same step goes on in smaller pieces, with the same numbers.

    Raises ValueError for what cannot be learned from, and OutOfMemory when one picture at a time is too much.
    """
    expect(images, masks, what, steps, rank, batch)
    about = adapters.about(what, model, *((rank, rank) if what == "lora" else ()))
    before = {name: tensor.clone() for name, tensor in model.decoder.state_dict(prefix=HEAD).items()
              if tensor.is_floating_point()}
    learning = {"head": model.decoder.parameters, "all": model.parameters,
                "lora": lambda: adapters.make_low_rank(model, rank, rank, seed)}[what]()
    learner = Learner(model.eval(), 0.0, WEIGHTS["general"], parameters=learning, seed=seed,
                      dtype=learning_dtype(next(model.parameters()).device))
    views = batches(images, masks, network_size(model.config, *masks[0].shape, size), batch, seed)
    losses: list[float] = []
    for step in range(steps):
        learner.rate = (rate or own_rate(what, model)) * share_of_rate(step, steps)
        losses.append(learn(learner, *next(views), relieve))
        report(step + 1, losses[-1])
    changes = {"head": lambda: adapters.of_differences(before, model.state_dict()),
               "lora": lambda: adapters.of_low_rank(model), "all": lambda: None}[what]()
    return Tuned(model.requires_grad_(False), None if changes is None else Adapter(changes, about), losses)


def expect(images: Sequence[Tensor], masks: Sequence[Tensor], what: str, *numbers: int) -> None:
    if what not in RATES:
        raise ValueError(f"what is to learn is {what!r}; expected one of {', '.join(map(repr, RATES))}")
    if not len(images) or len(images) != len(masks):
        raise ValueError(f"expected pictures and a mask for each, got {len(images)} pictures and {len(masks)} masks")
    for image, mask in zip(images, masks):
        if image.ndim != 3 or mask.shape != image.shape[:2]:
            raise ValueError(f"expected each mask as large as its picture, got a picture {list(image.shape)} and a "
                             f"mask {list(mask.shape)}")
    if min(numbers) < 1:
        raise ValueError("expected at least one step, rank 1 and one picture per step, got "
                         f"{', '.join(map(str, numbers))}")
    brightest = max(float(mask.amax()) for mask in masks)
    if 0 < brightest < LABELS:
        raise ValueError(f"the masks' brightest level is {brightest * 255:.3g} of 255: labels? make the subject white (1)")
    if brightest < 0.5:
        raise ValueError("the masks are empty: there is no subject to learn (1 = subject; is the mask inverted?)")


def own_rate(what: str, model: BiRefNet) -> float:
    """A rate for the kind: the wider the layers, the less, in proportion (Yang et al. 2022, for Adam)."""
    return RATES[what] * WIDTH / model.config.widths[0]


def learning_dtype(device: torch.device) -> torch.dtype:
    """What the device learns fastest in without harm: bfloat16 where it is native, float16 on older GPUs."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bfloat16() else torch.float32


def share_of_rate(step: int, steps: int) -> float:
    """A straight rise, then half a cosine down to nearly nothing."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def learn(learner: Learner, images: Tensor, alphas: Tensor, relieve: Callable[[], None]) -> float:
    """One step, in as many pieces as memory makes necessary, now and later."""
    while True:
        try:
            return learner.learn(images, alphas)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        relieve()  # outside `except`: the error's traceback held the failed step's tensors
        if learner.accumulate >= len(images):
            raise OutOfMemory("out of memory with one picture at a time: choose a smaller size, low-rank adapters or "
                              "the head instead of everything, or a lighter checkpoint")
        learner.accumulate *= 2


# What is seen ------------------------------------------------------------------------------------------------------


def batches(images: Sequence[Tensor], masks: Sequence[Tensor], size: tuple[int, int], batch: int, seed: int
            ) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches, images [batch,3,h,w] and alphas [batch,1,h,w]; every picture once, then every one again."""
    random = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while True:
        while len(order) < batch:
            order += torch.randperm(len(images), generator=random).tolist()
        chosen, order = order[:batch], order[batch:]
        views = [view(images[i], masks[i], size, random) for i in chosen]
        yield torch.cat([image for image, _ in views]), torch.cat([alpha for _, alpha in views])


def view(image: Tensor, mask: Tensor, size: tuple[int, int], random: torch.Generator) -> tuple[Tensor, Tensor]:
    """A picture [H,W,C] and its mask [H,W] as nobody has seen them: [1,3,h,w] and [1,1,h,w] of a random crop."""
    draws = torch.rand(4, generator=random).tolist()
    window = []
    for side, share, place in zip(mask.shape, draws[:2], draws[2:]):
        length = max(1, round(side * (SMALLEST_CROP + (1 - SMALLEST_CROP) * share)))
        start = round((side - length) * place)
        window.append(slice(start, start + length))
    rows, columns = window
    seen, alpha = resize_to_network(image[rows, columns], size), resample(mask[rows, columns].float()[None, None], size)
    if torch.rand((), generator=random) < 0.5:
        seen, alpha = seen.flip(3), alpha.flip(3)
    return recoloured(seen, random), alpha.clamp(0, 1)


def recoloured(image: Tensor, random: torch.Generator) -> Tensor:
    """[1,3,h,w] in 0..1 with another exposure, contrast, saturation and tint."""
    exposure, contrast, saturation = (1 + 0.25 * (2 * torch.rand(3, generator=random) - 1)).tolist()
    tint = 1 + 0.08 * (2 * torch.rand(1, 3, 1, 1, generator=random) - 1)
    grey = image.mean(1, keepdim=True)
    x = grey + saturation * (image - grey)
    mean = grey.mean()
    return (exposure * (mean + contrast * (x * tint - mean))).clamp(0, 1)
