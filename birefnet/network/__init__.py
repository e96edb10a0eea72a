"""The network, from a normalised image to logits."""

from __future__ import annotations

from . import backbones  # noqa: F401  the encoder families, which `Config` names
