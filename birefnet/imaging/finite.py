"""Check for NaN and infinity, which operators would spread over a whole picture."""

from __future__ import annotations

from torch import Tensor

from ..files.errors import UserError


def check_finite(values: Tensor, name: str) -> None:
    """Check that no value is NaN or infinite.

    Args:
        values: float, of any shape.
        name: what they are, for the error's message ("guide").

    Raises:
        UserError: a value is not finite.
    """
    if not values.sum().isfinite():  # quick; but a sum of finite values may overflow, too
        wrong = int((~values.isfinite()).sum())
        if wrong:
            raise UserError(f"Check what made the {name}: {wrong} of its {values.numel()} values are NaN or "
                            "infinite")
