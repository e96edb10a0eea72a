"""The model card on the loader: what web/card.js shows of the chosen checkpoint before it is loaded."""

from __future__ import annotations

import asyncio
import functools
import logging
from pathlib import Path

import torch
from aiohttp import web
from server import PromptServer

from ... import birefnet, weights
from ...birefnet.network import builds
from ...birefnet.network.fused import fuse
from . import folders, memory
from .checkpoints import explain_damage, find_file

log = logging.getLogger(__name__)

ROUTE, FETCH_ROUTE = "/biref/checkpoints", "/biref/fetch"
FETCHED = "biref.fetch"  # event with a download's progress
EXAMPLE_SIZE = (1024, 1024)  # (H, W) in pixels, for the memory estimate of checkpoints of dynamic size


def register() -> None:
    """Add the routes; the host starts its server after loading all packs."""

    @PromptServer.instance.routes.get(ROUTE)
    async def checkpoints(request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(cards))

    @PromptServer.instance.routes.post(FETCH_ROUTE)
    async def fetch(request: web.Request) -> web.Response:
        try:
            name = str((await request.json())["name"])
        except (ValueError, TypeError, KeyError):
            return web.Response(status=400, text="expected the name of a checkpoint")
        try:
            await asyncio.to_thread(download, name)
        except (weights.FetchError, OSError) as error:
            return web.Response(status=502, text=str(error))
        return web.json_response({"name": name})


def download(name: str) -> None:
    """Fetch a published checkpoint into models/BiRefNet, as Load BiRefNet would. Raises FetchError."""

    def progress(done: int, total: int) -> None:
        PromptServer.instance.send_sync(FETCHED, {"name": name, "done": done, "total": total})

    weights.fetch(name, folders.checkpoint_folders()[0], progress=progress)


def cards() -> dict[str, dict]:
    """Return the card of each name in the loader's list, but for those that cannot be made."""
    by_name, registered = {}, folders.registered_folders()
    found = [(name, weights.match(path, registered), path)
             for name, path in weights.list_local(folders.checkpoint_folders()).items()]
    found += [(entry.name, entry, here(entry)) for entry in weights.CATALOG]
    for name, entry, path in found:
        try:
            by_name[name] = card(entry, path, path.stat().st_size if path else entry.megabytes * 10**6)
        except OSError:  # the file has been removed meanwhile
            pass
        except Exception:  # all others keep their cards
            log.exception("BiRef: the card of %s cannot be made", name)
    return by_name


def card(entry: weights.Entry | None, path: Path | None, size: int) -> dict:
    """The card of a checkpoint.

    Args:
        entry: its row of the catalog; None for an unpublished file.
        path: its file, if it is on this machine.
        size: of the file, in bytes.

    Returns:
        A JSON object; `file` and `memory` are in bytes. For an unpublished file, only `here` and `file`.
    """
    if entry is None:
        return {"here": True, "file": size}
    broken = bool(path and entry.repo and explain_damage(path))
    return {"here": path is not None, "damaged": broken, "file": size, "task": entry.task,
            "license": entry.license, "nonCommercial": entry.non_commercial,
            "memory": estimate_memory(entry.repo and entry.backbone, entry.height_width or EXAMPLE_SIZE),
            "size": entry.height_width and entry.height_width[::-1], "note": entry.note}


def here(entry: weights.Entry) -> Path | None:
    """Return a published checkpoint's file on this machine; None if there is none."""
    try:
        return find_file(entry.name)
    except weights.NotFound:
        return None


@functools.cache
def estimate_memory(backbone: str | None, size: tuple[int, int]) -> int:
    """Estimate the bytes of weights and activations for one picture on the host's device.

    backbone: see `network_of`. size: of the network, (H, W) in pixels.
    """
    device = memory.device("auto")
    network = network_of(backbone).to(memory.dtype("auto", device))
    stored = sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())
    return stored + birefnet.activation_bytes(network, size, device=device)


def network_of(backbone: str | None) -> birefnet.BiRefNet:
    """Build a published network on the meta device; for None, load the included checkpoint's network."""
    if backbone is None:
        return birefnet.load(weights.NANO)
    with torch.device("meta"):
        return fuse(birefnet.BiRefNet(builds.config(backbone)))
