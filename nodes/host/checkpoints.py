"""Checkpoints and adapters by the names that widgets offer and workflows store: found, or fetched where
allowed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ... import birefnet, weights
from ...birefnet.checkpoint.tensorfile import open_file
from . import folders, messages, progress
from .recipe import identity

log = logging.getLogger(__name__)

DEFAULT = "birefnet-nano"
NONE = "none"  # the choice of no adapter


def options() -> list[str]:
    """What the widget offers: the included checkpoint, local files, catalog names. Saved workflows hold these
    strings: whether a catalog name is on this machine must not show in them."""
    names = [DEFAULT, *weights.local(folders.checkpoint_folders()),
             *(entry.name for entry in weights.CATALOG)]
    return list(dict.fromkeys(names))


def find_or_fetch(checkpoint: str, fetch: bool) -> Path:
    """The checkpoint's file, local first; a published one that is cut off counts as missing.
    weights.NotFound, weights.FetchError or birefnet.CheckpointError say what to do if there is none."""
    folder, row = folders.checkpoint_folders()[0], weights.entry(checkpoint)
    try:
        path = found(checkpoint)
    except weights.NotFound:
        if not fetch or row is None:
            raise
    else:
        row = row or weights.match(path, folders.registered_folders())
        broken = row and row.repo and damage(path)
        if not broken:
            return path
        if not fetch:
            raise birefnet.CheckpointError(f"Set download to \"when missing\" to get {row.name} again: {path}: "
                                           f"{broken}")
    log.info("BiRef: downloading %s into %s", row.name, folder)
    messages.say(f"downloading {row.name}")
    return weights.fetch(row.name, folder, progress=progress.download_progress())


def fault_before_run(checkpoint: object, fetch: object) -> str:
    """For `validate_inputs`: why a checkpoint cannot be loaded, as far as widgets tell before the run; "" if
    it can, or where another node will say (None)."""
    if checkpoint is None or fetch is None or fetch and weights.entry(str(checkpoint)):
        return ""
    try:
        found(str(checkpoint))
    except weights.NotFound as error:
        return str(error)
    return ""


def fault_of_adapter(adapter: object) -> str:
    """The same of an adapter."""
    if adapter in (None, NONE):
        return ""
    try:
        weights.find_adapter(str(adapter), folders.checkpoint_folders())
    except (weights.NotFound, birefnet.CheckpointError) as error:
        return str(error)
    return ""


def found(checkpoint: str) -> Path:
    """The file of that name on this machine, or weights.NotFound."""
    return weights.find(checkpoint, folders.checkpoint_folders(), registered=folders.registered_folders())


def damage(path: Path) -> str:
    """What is wrong with a checkpoint's file that is cut off or holds something else; "" for one that can be
    opened.

    What a user converted is whole, however much smaller it is than what was published.
    """
    if not weights.is_whole(path):  # which does not know all formats that can be opened
        try:
            open_file(path)
        except birefnet.CheckpointError as error:
            return str(error)
        except OSError:  # it may not be read, which is no damage, and is said when it is loaded
            pass
    return ""


def checkpoint_state(checkpoint: str) -> tuple:
    """Changes when the checkpoint's file is replaced."""
    return state(lambda: found(str(checkpoint)))


def adapter_options() -> list[str]:
    """What a widget for adapters offers."""
    return [NONE, *weights.local_adapters(folders.checkpoint_folders())]


def adapter_state(adapter: str) -> tuple:
    """Changes when the adapter's file is replaced."""
    if adapter == NONE:
        return ()
    return state(lambda: weights.find_adapter(str(adapter), folders.checkpoint_folders()))


def state(find: Callable[[], Path]) -> tuple:
    """The identity of the file that is found, if there is one."""
    try:
        return identity(find())
    except OSError:
        return ("missing",)
