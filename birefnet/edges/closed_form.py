"""Closed-form matting inside a band: alpha that follows the photograph's colours, confident pixels held fixed.

Levin, Lischinski and Weiss, "A closed-form solution to natural image matting" (2008): in every window of 3×3 pixels alpha
is taken as a linear function of colour, and what that leaves unexplained is to be small. One window's cost is
|p - U U'p|², where p are its nine alphas and U [9,C+1] spans the constants and the window's colours (shortened by
`EPSILON`, which keeps the slope small where colours hardly differ); their sum is p'Lp with the matting Laplacian L.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

EPSILON = 1e-4  # nine times the colour variance that counts as noise. Literature has 1e-7 to 1e-5, for hand-made trimaps


def closed_form(
    alpha: torch.Tensor,
    colours: torch.Tensor,
    unknown: torch.Tensor,
    prior: float = 0.0,
    *,
    epsilon: float = EPSILON,
    tolerance: float = 1e-3,
    steps: int = 200,
) -> torch.Tensor:
    """Solve alpha [H,W] anew where `unknown` [H,W] is set, from colours [H,W,C] in 0..1; elsewhere it stays, bit for bit.

    `prior` is the weight of staying with the alpha given there, per pixel; a window's full weight is 1. Conjugate
    gradients from the alpha given, until the residual is `tolerance` of the first one or `steps` are done.
    """
    if min(alpha.shape) < 3 or not unknown.any():
        return alpha
    pixels, windows = _windows(unknown)
    basis = _basis(colours.reshape(-1, colours.shape[-1])[pixels], windows, epsilon)
    start = alpha.flatten()[pixels].to(basis.dtype)
    free = unknown.flatten()[pixels].to(basis.dtype)
    change = _solve(lambda p: free * (_laplacian(p, windows, basis) + prior * p),
                    -free * _laplacian(start, windows, basis), tolerance, steps)
    result = alpha.flatten().clone()
    solved = free > 0
    result[pixels[solved]] = (start + change)[solved].clamp(0, 1).to(alpha)
    return result.view_as(alpha)


def _windows(unknown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The windows that hold an unknown pixel: the pixels they touch, as flat indices [P], and each window's nine of
    those [K,9]."""
    width = unknown.shape[1]
    centres = F.max_pool2d(unknown[None].float(), 3, 1)[0] > 0  # those a pixel off the frame: [H-2,W-2]
    rows, columns = centres.nonzero(as_tuple=True)
    offsets = torch.tensor([dy * width + dx for dy in range(3) for dx in range(3)], device=unknown.device)
    flat = (rows * width + columns)[:, None] + offsets
    touched = torch.zeros(unknown.numel(), dtype=torch.bool, device=unknown.device)
    touched[flat.flatten()] = True
    number = touched.cumsum(0) - 1
    return touched.nonzero()[:, 0], number[flat]


def _basis(colours: torch.Tensor, windows: torch.Tensor, epsilon: float) -> torch.Tensor:
    """U [K,9,C+1] of each window, from the pixels' colours [P,C]: U U' is what alpha may be for free."""
    x = colours[windows]
    x = x - x.mean(1, keepdim=True)
    channels = x.shape[-1]
    covariance = x.mT @ x + epsilon * torch.eye(channels, dtype=x.dtype, device=x.device)
    factor = torch.linalg.cholesky(covariance)
    x = torch.linalg.solve_triangular(factor, x.mT, upper=False).mT
    return torch.cat([torch.full_like(x[..., :1], 1 / 3), x], -1)


def _laplacian(p: torch.Tensor, windows: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """L p for alphas p [P], window by window."""
    within = p[windows]
    unexplained = within - (basis @ (within[:, None] @ basis).mT)[..., 0]
    return torch.zeros_like(p).index_add_(0, windows.flatten(), unexplained.flatten())


def _solve(apply, right: torch.Tensor, tolerance: float, steps: int) -> torch.Tensor:
    """x of apply(x) = right by conjugate gradients; `apply` is symmetric and positive (semi)definite."""
    x = torch.zeros_like(right)
    residual, direction = right.clone(), right.clone()
    energy = first = residual.dot(residual)
    for _ in range(steps):
        if energy <= tolerance**2 * first:
            break
        image = apply(direction)
        length = energy / direction.dot(image)
        x += length * direction
        residual -= length * image
        energy, before = residual.dot(residual), energy
        direction = residual + energy / before * direction
    return x
