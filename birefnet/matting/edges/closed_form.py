"""Closed-form matting inside a band: alpha follows the photograph's colours, confident pixels are held fixed.

Levin, Lischinski and Weiss, "A closed-form solution to natural image matting" (2008): in every window of 3×3
pixels alpha is a linear function of colour as far as possible. One window's cost is |p - U U'p|², where p are
its nine alphas and U [9,C+1] spans the constants and the window's colours (regularised by `EPSILON`, which
keeps the slope small where colours hardly differ); their sum is p'Lp with the matting Laplacian L.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

# Nine times the colour variance that counts as noise; papers have 1e-7 to 1e-5, for trimaps made by hand.
EPSILON = 1e-4
TOLERANCE = 0.01  # of the first residual's norm, at which the iteration stops
MAX_STEPS = 200   # of conjugate gradients


def refine_closed_form(
    alpha: torch.Tensor, colours: torch.Tensor, unknown: torch.Tensor, prior: float = 0.0
) -> torch.Tensor:
    """Solve for alpha where it is unknown, by conjugate gradients that start from the given alpha.

    Args:
        alpha: float [H,W] in 0..1.
        colours: float [H,W,C] in 0..1.
        unknown: bool [H,W].
        prior: weight per pixel of keeping the given alpha; a window's full weight is 1.

    Returns:
        float [H,W] in 0..1; known pixels are unchanged, bit for bit.
    """
    if min(alpha.shape) < 3 or not unknown.any():
        return alpha
    pixels, windows = _windows(unknown)
    laplacian = Laplacian(colours.reshape(-1, colours.shape[-1])[pixels], windows)
    start = alpha.flatten()[pixels].to(laplacian.basis)
    free = unknown.flatten()[pixels].to(start)
    change = _solve(lambda p: free * (laplacian(p) + prior * p), -free * laplacian(start))
    result = alpha.flatten().clone()
    solved = free > 0
    result[pixels[solved]] = (start + change)[solved].clamp(0, 1).to(alpha)
    return result.view_as(alpha)


def _windows(unknown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the K windows that contain an unknown pixel: flat indices [P] of the pixels in them, and for each
    window the positions [9,K] of its pixels in that list.
    """
    width = unknown.shape[1]
    centres = F.max_pool2d(unknown[None].float(), 3, 1)[0] > 0  # [H-2,W-2]: without the outermost pixels
    rows, columns = centres.nonzero(as_tuple=True)
    offsets = torch.tensor([dy * width + dx for dy in range(3) for dx in range(3)], device=unknown.device)
    flat = offsets[:, None] + rows * width + columns
    touched = torch.zeros(unknown.numel(), dtype=torch.bool, device=unknown.device)
    touched[flat.flatten()] = True
    number = touched.cumsum(0) - 1
    return touched.nonzero()[:, 0], number[flat]


class Laplacian:
    """p [P] -> L p [P]: the sum over the windows [9,K] of p - U U'p, from the pixels' colours [P,C].

    It gathers instead of scattering, and sums over planes of K numbers, which is faster than a product per
    window.
    """

    def __init__(self, colours: torch.Tensor, windows: torch.Tensor) -> None:
        count = windows.shape[1]
        self.windows = windows.flatten()
        self.basis = _basis(colours[windows.T]).permute(2, 1, 0).contiguous()  # [C+1,9,K]
        # For each pixel, its index in each of the nine planes of windows; a window of zeros after each plane
        # stands for none.
        again = torch.full((9, len(colours)), count, device=windows.device)
        again.scatter_(1, windows, torch.arange(count, device=windows.device).expand(9, -1))
        self.again = (again + torch.arange(9, device=windows.device)[:, None] * (count + 1)).flatten()

    def __call__(self, p: torch.Tensor) -> torch.Tensor:
        within = p.index_select(0, self.windows).view(9, -1)
        unexplained = F.pad(within, (0, 1))
        for plane in self.basis:
            unexplained[:, :-1] -= plane * (plane * within).sum(0)
        return unexplained.flatten().index_select(0, self.again).view(9, -1).sum(0)


def _basis(colours: torch.Tensor) -> torch.Tensor:
    """U [K,9,C+1] of windows with colours [K,9,C]: alpha in the span of U costs nothing."""
    x = colours - colours.mean(1, keepdim=True)
    covariance = x.mT @ x + EPSILON * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    x = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), x.mT, upper=False).mT
    return torch.cat([torch.full_like(x[..., :1], 1 / 3), x], -1)


def _solve(apply: Callable[[torch.Tensor], torch.Tensor], right: torch.Tensor) -> torch.Tensor:
    """x of apply(x) = right by conjugate gradients; `apply` is symmetric and positive (semi)definite."""
    x = torch.zeros_like(right)
    residual, direction = right.clone(), right.clone()
    energy = first = residual.dot(residual)
    for _ in range(MAX_STEPS):
        if energy <= TOLERANCE**2 * first:
            break
        image = apply(direction)
        length = energy / direction.dot(image)
        x += length * direction
        residual -= length * image
        energy, before = residual.dot(residual), energy
        direction = residual + energy / before * direction
    return x
