"""A tiny build that stands for any checkpoint where numbers of a real one are not the point."""

import functools

import torch
from golden_cases import recipe

import birefnet

TINY = birefnet.Config(family="pvt_v2", widths=(8, 16, 40, 64), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8),
                       mlp_ratios=(2, 2, 2, 2), kernels=(1, 3), inner=8, branch=8, patch_inner=8, gate=4,
                       size=(64, 64), task="tests")


def random_state(config: birefnet.Config) -> dict[str, torch.Tensor]:
    """Deterministic weights in which every tensor matters: deformable branches deform, norms are not the
    identity. The caller may change them."""
    return {name: tensor.clone() for name, tensor in computed_state(config).items()}


@functools.lru_cache(maxsize=32)
def computed_state(config: birefnet.Config) -> dict[str, torch.Tensor]:
    """A file's tests ask for the same few builds again and again."""
    try:
        with torch.device("meta"):  # names and shapes are all that counts
            state = birefnet.BiRefNet(config).state_dict()
    except NotImplementedError:  # some of timm's cannot be built there
        state = birefnet.BiRefNet(config).state_dict()
    return {name: torch.from_numpy(recipe.tensor(name, tensor.shape)) for name, tensor in state.items()
            if tensor.is_floating_point()}
