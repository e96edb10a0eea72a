"""A batch goes through in passes; memory that runs out makes them smaller, never stops the queue."""

from __future__ import annotations

import pytest
import torch

import birefnet
from birefnet.device import passes


class Device:
    """Fails passes of more than `room` frames, like a device of that size; the CPU below it has room for
    one."""

    def __init__(self, room: int, cpu_room: int = 1) -> None:
        self.room, self.cpu_room = room, cpu_room
        self.tried, self.done, self.relieved, self.lowered = [], [], 0, False

    def run(self, start: int, stop: int) -> None:
        self.tried.append(stop - start)
        if stop - start > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.done.extend(range(start, stop))

    def lower(self) -> bool:
        if self.lowered:
            return False
        self.lowered, self.room = True, self.cpu_room
        return True

    def relieve(self) -> None:
        self.relieved += 1

    def work(self, total: int, per_pass: int) -> None:
        passes.in_passes(total, per_pass, self.run, out_of_memory=birefnet.is_out_of_memory,
                         relieve=self.relieve, lower=self.lower)


@pytest.mark.parametrize("total, per_pass, tried", [(7, 3, [3, 3, 1]), (2, 16, [2]), (0, 4, [])])
def test_every_frame_once_and_in_order(total, per_pass, tried):
    device = Device(room=100)
    device.work(total, per_pass)
    assert device.done == list(range(total))
    assert device.tried == tried and not device.relieved and not device.lowered


def test_passes_halve_until_they_fit():
    device = Device(room=3)
    device.work(20, per_pass=16)
    assert device.done == list(range(20))
    assert device.tried == [16, 8, 4, *[2] * 10]
    assert device.relieved == 3 and not device.lowered


def test_memory_that_runs_out_late_does_not_repeat_finished_frames():
    device = Device(room=4)
    ordinary = device.run

    def run(start: int, stop: int) -> None:
        device.room = 4 if start < 8 else 1
        ordinary(start, stop)

    device.run = run
    device.work(12, per_pass=4)
    assert device.done == list(range(12))
    assert device.tried == [4, 4, 4, 2, 1, 1, 1, 1]


def test_one_frame_too_large_goes_on_the_cpu():
    device = Device(room=0)
    device.work(3, per_pass=2)
    assert device.lowered and device.done == [0, 1, 2]
    assert device.tried == [2, 1, 1, 1, 1]


def test_too_large_for_the_cpu_too_says_what_to_do():
    device = Device(room=0, cpu_room=0)
    with pytest.raises(passes.OutOfMemory, match="^Choose a smaller size or a lighter checkpoint"):
        device.work(3, per_pass=2)
    assert device.lowered and device.done == []


def test_each_way_to_need_less_is_tried_before_giving_up():
    """Smaller steps, then smaller ones, then the processor; and what has been found to fit stays."""
    needed, ways = [8], [4, 2, 1]

    def run(start: int, stop: int) -> None:
        if needed[0] > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        done.append((start, stop))

    def lower() -> bool:
        if ways:
            needed[0] = ways.pop(0)
            return True
        return False

    done = []
    passes.in_passes(3, 4, run, out_of_memory=birefnet.is_out_of_memory, relieve=lambda: None, lower=lower)
    assert done == [(0, 1), (1, 2), (2, 3)] and ways == [1]


class Interrupted(Exception):
    """The older host's interrupt is an Exception."""


class InterruptedHarder(BaseException):
    """The newer host's is not."""


@pytest.mark.parametrize("error",
                         [Interrupted(), InterruptedHarder(), ValueError("bad input"), KeyError("x")])
def test_other_errors_and_interrupts_pass_through_at_once(error):
    device = Device(room=100)

    def run(start: int, stop: int) -> None:
        device.tried.append(stop - start)
        raise error

    device.run = run
    with pytest.raises(type(error)):
        device.work(3, per_pass=2)
    assert device.tried == [2] and not device.relieved and not device.lowered


def test_memory_is_relieved_after_the_failed_pass_has_let_go():
    """The traceback of an error keeps the failed pass's tensors alive while the error is handled."""
    import weakref

    held = []

    def run(start: int, stop: int) -> None:
        if stop - start > 1:
            activations = torch.zeros(8)
            held.append(weakref.ref(activations))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def relieve() -> None:
        assert held[-1]() is None

    passes.in_passes(2, 2, run, out_of_memory=birefnet.is_out_of_memory, relieve=relieve, lower=lambda: False)
    assert len(held) == 1


@pytest.mark.parametrize("error, is_it", [
    (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), True),
    (MemoryError(), True),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
                  "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"), True),
    (RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4 "
                  "bytes."), True),
    (RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)"), True),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
    (RuntimeError("expected scalar type Float but found Half"), False),
    (ValueError("out of memory"), False),
    (KeyboardInterrupt(), False),
])
def test_what_counts_as_out_of_memory(error, is_it):
    assert birefnet.is_out_of_memory(error) is is_it


def test_the_real_cpu_allocator_is_understood():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert birefnet.is_out_of_memory(error.value)
