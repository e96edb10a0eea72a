"""How much memory a pass takes, measured in the process that calls this."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import torch
from tiny_build import random_state

import birefnet

PAGE = 4096


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def growth(config: dict, size: int, form: str, budget: int | None) -> tuple[int, int]:
    """Bytes by which this process, which has made no pass yet, grows in one; and the estimate."""
    config = birefnet.Config(**config)
    model = birefnet.load(random_state(config), form=form, encoder=config.encoder or "auto")
    model.budget_bytes = budget

    @torch.inference_mode()
    def run(side: int) -> None:
        model(torch.zeros(1, 3, side, side))

    run(64)
    before = peak = resident()
    thread = threading.Thread(target=run, args=(size,))
    thread.start()
    while thread.is_alive():
        peak = max(peak, resident())
        time.sleep(0.002)
    return peak - before, birefnet.activation_bytes(model, (size, size), 1, budget)
