"""Finds checkpoints and adapters by the names in widgets and workflows, and downloads them if allowed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ... import birefnet, weights
from ...birefnet.checkpoint.tensorfile import open_file
from . import folders, messages, progress
from .recipe import identity

log = logging.getLogger(__name__)

NONE = "none"  # the choice of no adapter


def options() -> list[str]:
    """Return the checkpoint widget's options: the included checkpoint, local files, names of the catalog.

    Workflows store these strings, so they must not depend on which published checkpoints are on this machine.
    """
    names = [weights.DEFAULT, *weights.list_local(folders.checkpoint_folders()),
             *(entry.name for entry in weights.CATALOG)]
    return list(dict.fromkeys(names))


def find_or_fetch(checkpoint: str, fetch: bool) -> Path:
    """Find a checkpoint's file on this machine, or download it; a truncated published one counts as missing.

    Args:
        checkpoint: its name, as in the widget.
        fetch: whether it may be downloaded.

    Raises:
        weights.NotFound, weights.FetchError, birefnet.CheckpointError: there is none; the message says what
            to do.
    """
    folder, row = folders.checkpoint_folders()[0], weights.entry(checkpoint)
    try:
        path = find_file(checkpoint)
    except weights.NotFound:
        if not fetch or row is None:
            raise
    else:
        row = row or weights.match(path, folders.registered_folders())
        broken = row and row.repo and explain_damage(path)
        if not broken:
            return path
        if not fetch:
            raise birefnet.CheckpointError(f'Set download to "when missing" to get {row.name} again', broken,
                                           path)
    log.info("BiRef: downloading %s into %s", row.name, folder)
    messages.say(f"downloading {row.name}")
    return weights.fetch(row.name, folder, progress=progress.download_progress())


def fault_before_run(checkpoint: object, fetch: object) -> str:
    """Explain, for `validate_inputs`, why a checkpoint cannot be loaded; "" if it can.

    Args:
        checkpoint, fetch: values of the widgets; None where another node provides them, which is not checked.
    """
    if checkpoint is None or fetch is None or fetch and weights.entry(str(checkpoint)):
        return ""
    try:
        find_file(str(checkpoint))
    except weights.NotFound as error:
        return str(error)
    return ""


def fault_of_adapter(adapter: object) -> str:
    """Explain, for `validate_inputs`, why an adapter cannot be loaded; "" if it can."""
    if adapter in (None, NONE):
        return ""
    try:
        weights.find_adapter(str(adapter), folders.checkpoint_folders())
    except (weights.NotFound, birefnet.CheckpointError) as error:
        return str(error)
    return ""


def find_file(checkpoint: str) -> Path:
    """Return the file of that name on this machine. Raises weights.NotFound."""
    return weights.find(checkpoint, folders.checkpoint_folders(), registered=folders.registered_folders())


def explain_damage(path: Path) -> str:
    """Explain why a checkpoint's file cannot be opened (truncated, another format); "" if it can.

    The published size is not compared: a file that a user converted may be smaller.
    """
    if not weights.is_complete(path):  # False also for formats that only open_file knows
        try:
            open_file(path)
        except birefnet.CheckpointError as error:
            return error.reason
        except OSError:  # not readable: loading reports it
            pass
    return ""


def checkpoint_state(checkpoint: str) -> tuple:
    """Return a value that changes when the checkpoint's file is replaced."""
    return file_state(lambda: find_file(str(checkpoint)))


def adapter_options() -> list[str]:
    """Return the options of a widget for adapters."""
    return [NONE, *weights.local_adapters(folders.checkpoint_folders())]


def adapter_state(adapter: str) -> tuple:
    """Return a value that changes when the adapter's file is replaced."""
    if adapter == NONE:
        return ()
    return file_state(lambda: weights.find_adapter(str(adapter), folders.checkpoint_folders()))


def file_state(find: Callable[[], Path]) -> tuple:
    """Return the identity of the file that `find` returns; ("missing",) if there is none."""
    try:
        return identity(find())
    except OSError:
        return ("missing",)
