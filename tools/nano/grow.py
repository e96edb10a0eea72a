"""A deeper build with the same mattes: `python -m tools.nano.grow CHECKPOINT OUT`.

The included checkpoint was first trained with fewer blocks. Each new block is a copy of the one before it whose last
layers are zero, so that it adds nothing at first and learns from there (Chen et al. 2016, "Net2Net").
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from birefnet.checkpoint import load as checkpoint
from birefnet.network.birefnet import BiRefNet
from birefnet.network.builds import NANO

LAST = re.compile(r"\.(attn\.proj|mlp\.fc2)\.(weight|bias)$")


def grown(model: BiRefNet, depths: tuple[int, ...] = NANO.depths) -> BiRefNet:
    """The PVT v2 build `model` with `depths` blocks a stage, at least as many as it has; its logits are the same.

    Raises ValueError for fewer blocks.
    """
    had = model.config.depths
    if any(deep < shallow for deep, shallow in zip(depths, had)):
        raise ValueError(f"expected at least {had} blocks a stage, got {depths}")
    deeper = BiRefNet(replace(model.config, depths=depths))
    old, new = model.state_dict(), deeper.state_dict()
    for name in new:
        found = re.match(r"bb\.block(\d)\.(\d+)\.", name)
        stage, block = (int(found[1]), int(found[2])) if found else (1, 0)
        if block < had[stage - 1]:
            new[name] = old[name]
        elif LAST.search(name):
            new[name] = new[name].new_zeros(new[name].shape)
        else:
            new[name] = old[re.sub(r"\.\d+\.", f".{had[stage - 1] - 1}.", name, count=1)]
    deeper.load_state_dict(new)
    return deeper


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    given = checkpoint.load(source, form="plain")
    checkpoint.save(grown(given), out, checkpoint.ancestry(given, source.name))
