"""Copies between the host's memory and a CUDA device that run beside the device's work.

An ordinary copy waits until the device is idle, and copies pageable memory through a small buffer of the
driver. Here two page-locked buffers alternate (the device reads one while the processor fills the other), and
each direction has its own stream. Page-locked memory is bounded by the buffers, whatever the pictures' size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

log = logging.getLogger(__name__)

BUFFER_BYTES = 16 << 20  # of each page-locked buffer


def make_transfer(device: torch.device) -> Transfer | None:
    """Create a Transfer for a CUDA device; None for others, and where there is no page-locked memory."""
    if device.type != "cuda":
        return None
    try:
        return Transfer(device)
    except RuntimeError as error:
        log.warning("copies to and from %s do not overlap with its work: no page-locked memory (%s)", device,
                    error)
        return None


class Transfer:
    """Asynchronous uploads, and downloads that only the processor waits for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.upload_stream, self.download_stream = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self.buffers = [torch.empty(BUFFER_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(4)]
        self.fetched = [torch.cuda.Event() for _ in range(2)]

    def upload(self, host: Tensor) -> Tensor:
        """Copy to the device; the current stream waits for the copy. Returns once `host` has been read."""
        flat = as_bytes(host)
        with torch.cuda.stream(self.upload_stream):
            out = torch.empty(host.shape, dtype=host.dtype, device=self.device)
            target = as_bytes(out)
            for turn, part in enumerate(parts(len(flat))):
                buffer, fetched = self.buffers[turn % 2], self.fetched[turn % 2]
                fetched.synchronize()
                staged = buffer[:part.stop - part.start].copy_(flat[part])
                target[part].copy_(staged, non_blocking=True)
                fetched.record()
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.upload_stream)
        out.record_stream(current)
        return out

    def download_later(self, tensor: Tensor) -> Callable[[], Tensor]:
        """Return a function that returns the tensor in the host's memory.

        That function waits for the work that the device has been given so far, not for later work.
        """
        tensor = tensor.contiguous()  # before the event: the download does not wait for later work
        ready = torch.cuda.Event()
        ready.record(torch.cuda.current_stream(self.device))
        return partial(self.download, tensor, ready)

    def download(self, tensor: Tensor, ready: torch.cuda.Event) -> Tensor:
        """Copy to the host's memory once the device has reached `ready`."""
        flat = as_bytes(tensor)
        out = torch.empty(tensor.shape, dtype=tensor.dtype)
        target = as_bytes(out)
        self.download_stream.wait_event(ready)
        arriving = None
        with torch.cuda.stream(self.download_stream):
            for turn, part in enumerate(parts(len(flat))):
                staged = self.buffers[2 + turn % 2][:part.stop - part.start]
                staged.copy_(flat[part], non_blocking=True)
                arrived = torch.cuda.Event()
                arrived.record()
                copy_arrived(target, arriving)
                arriving = part, staged, arrived
        copy_arrived(target, arriving)
        return out


def copy_arrived(target: Tensor, arriving: tuple[slice, Tensor, torch.cuda.Event] | None) -> None:
    """Wait for a part to arrive in its buffer, and copy it to the target."""
    if arriving is not None:
        part, staged, arrived = arriving
        arrived.synchronize()
        target[part] = staged


def parts(total: int) -> list[slice]:
    """Split 0..total into slices that fit into a buffer."""
    return [slice(start, min(start + BUFFER_BYTES, total)) for start in range(0, total, BUFFER_BYTES)]


def as_bytes(tensor: Tensor) -> Tensor:
    """Return the tensor's contents as uint8 [bytes]."""
    return tensor.contiguous().flatten().view(torch.uint8)
