"""Where windows are laid, and that their answers meet without a seam."""

from __future__ import annotations

import pytest
import torch

from birefnet.matting.edges.windows import CELLS, RIM, blend_windows, choose_windows


@pytest.mark.parametrize("height, width, side", [(300, 300, 64), (300, 411, 96), (50, 300, 64), (33, 20, 64)])
def test_all_that_is_needed_lies_within_a_window_and_off_its_border(height, width, side):
    need = torch.rand(height, width, generator=torch.Generator().manual_seed(1)) > 0.97
    need[0, 0] = need[-1, -1] = True
    rim = side // CELLS * RIM
    looked_at = torch.zeros_like(need)
    for rows, columns in choose_windows(need, side):
        assert rows.stop - rows.start == min(side, height)
        assert columns.stop - columns.start == min(side, width)
        top, left = rows.start + rim * (rows.start > 0), columns.start + rim * (columns.start > 0)
        bottom, right = rows.stop - rim * (rows.stop < height), columns.stop - rim * (columns.stop < width)
        looked_at[top:bottom, left:right] = True
    assert not (need & ~looked_at).any()


def test_windows_lie_along_what_is_needed_only(coarse):
    need = (coarse[0] > 0.05) & (coarse[0] < 0.95)
    found = choose_windows(need, 64)
    assert 8 <= len(found) <= 20  # a ring of 560 pixels, 48 a window; a grid with this overlap would have 49
    assert all(need[window].any() for window in found)
    assert choose_windows(torch.zeros(40, 40), 64) == []


def test_answers_meet_without_a_step(coarse):
    """Windows that contradict each other: every one says another number everywhere."""
    weight = ((coarse > 0.05) & (coarse < 0.95)).float()
    numbers = iter(torch.linspace(0, 1, 16).repeat(4))

    def answer(alphas, pictures, weights):
        return torch.stack([next(numbers).expand_as(alpha) for alpha in alphas])

    result = blend_windows(answer, coarse, coarse[..., None], weight, 64)[0]
    inside = weight[0] > 0
    down = (result[1:] - result[:-1]).abs()[inside[1:] & inside[:-1]]
    along = (result[:, 1:] - result[:, :-1]).abs()[inside[:, 1:] & inside[:, :-1]]
    assert max(down.max(), along.max()) < 0.1
    assert result[inside].std() > 0.05


def test_progress_counts_windows(coarse):
    weight = ((coarse > 0.05) & (coarse < 0.95)).float()
    told = []
    blend_windows(lambda a, p, w: a, coarse, coarse[..., None], weight, 32,
                  lambda done, total: told.append((done, total)))
    total = len(choose_windows(weight[0], 32))
    assert told == [*((done, total) for done in range(0, total, 16)), (total, total)]
