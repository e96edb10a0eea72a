"""The model card on the loader: what web/card.js shows there of the chosen checkpoint, before anything is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import functools

import torch
from aiohttp import web
from server import PromptServer

from .. import birefnet, weights
from ..birefnet.fused import fuse
from . import host

ROUTE = "/biref/checkpoints"
EXAMPLE = (1024, 1024)  # the photograph whose need is told of a checkpoint without a size of its own

# What the catalog's names of backbones mean; every published checkpoint has the authors' own decoder.
BUILDS = {
    "swin_v1_l": {"family": "swin_v1", "widths": (192, 384, 768, 1536), "depths": (2, 2, 18, 2),
                  "heads": (6, 12, 24, 48), "window": 12},
    "swin_v1_t": {"family": "swin_v1", "widths": (96, 192, 384, 768), "depths": (2, 2, 6, 2), "heads": (3, 6, 12, 24)},
}


def register() -> None:
    """Adds the route; the host adds all routes to its server once every pack is loaded."""

    @PromptServer.instance.routes.get(ROUTE)
    async def checkpoints(request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(cards))


def cards() -> dict[str, dict]:
    """What there is to tell about each name that the loader offers."""
    folders, told = host.checkpoint_folders(), {}
    for name, path in weights.local(folders).items():
        with contextlib.suppress(OSError):  # it was taken away meanwhile
            told[name] = card(weights.match(path), True, path.stat().st_size)
    for entry in weights.CATALOG:
        told[entry.name] = card(entry, is_here(entry, folders), entry.megabytes * 10**6)
    return told


def card(entry: weights.Entry | None, here: bool, size: int) -> dict:
    """One checkpoint: `file` and `memory` in bytes; of a file that nobody published, only that it is here."""
    if entry is None:
        return {"here": here, "file": size}
    height_width = entry.size if isinstance(entry.size, tuple) else (entry.size, entry.size)
    return {"here": here, "file": size, "task": entry.task, "license": entry.license,
            "nonCommercial": entry.non_commercial, "memory": memory(entry.backbone, entry.size),
            "size": None if entry.size == "dynamic" else height_width[::-1]}


def is_here(entry: weights.Entry, folders: list) -> bool:
    try:
        return weights.find(entry.name, folders).is_file()
    except weights.NotFound:
        return False


@functools.cache
def memory(backbone: str, size: int | tuple[int, int] | str) -> int:
    """Estimated bytes for one picture at that network size on the host's device: weights and activations."""
    device = host.device("auto")
    network = network_of(backbone).to(host.dtype("auto", device))
    if size == "dynamic":
        size = EXAMPLE
    height_width = size if isinstance(size, tuple) else (size, size)
    stored = sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())
    return stored + birefnet.activation_bytes(network, height_width)


def network_of(backbone: str) -> birefnet.BiRefNet:
    """The included checkpoint, or for a published build a network of the same tensors without values."""
    if backbone not in BUILDS:
        return birefnet.load(weights.NANO)
    with torch.device("meta"):
        return fuse(birefnet.BiRefNet(birefnet.Config(**BUILDS[backbone])))
