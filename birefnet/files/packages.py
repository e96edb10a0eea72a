"""Optional packages, which only some operators need: imported on use, with an error that helps to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import UserError

# Package → the oldest version that has what is used here; kornia's as in ComfyUI's own requirements. A test
# compares them with the requirements files.
OLDEST = {"kornia": "0.7.1", "scipy": "1.9", "timm": "1.0.21"}


class PackageError(UserError):
    """A package is missing or broken; the message is one sentence with the command that installs it."""


def require(module: str, purpose: str, name: str = "") -> ModuleType:
    """Import a module of an optional package, one of OLDEST.

    Args:
        module: dotted name, say "kornia.filters".
        purpose: what needs it, for the error ("feather").
        name: an attribute that the module must have, where older versions of the package lack it.

    Returns:
        The imported module.

    Raises:
        PackageError: it cannot be imported, for whatever reason: a broken installation raises nearly
            anything.
    """
    package = module.partition(".")[0]
    try:
        found = importlib.import_module(module)
        if name and not hasattr(found, name):
            raise ImportError(f"it is too old, without {module}.{name}")
        return found
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        why = "" if missing else f"; the installed one fails with {type(error).__name__}: {error}"
        raise PackageError(f'Install {package} for {purpose}: pip install "{package}>={OLDEST[package]}"{why}'
                           ) from None
