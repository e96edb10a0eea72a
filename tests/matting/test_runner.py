"""Frames through a network: order, laziness, the ladder when memory runs out, and numbers that are none."""

from __future__ import annotations

import weakref
from itertools import count, islice

import pytest
import torch

import birefnet
from birefnet.device.memory import FALLBACK_BUDGETS
from birefnet.device.passes import OutOfMemory
from birefnet.files.errors import UserError
from birefnet.matting import runner
from birefnet.matting.runner import Host, NetworkWorker, Runner

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
CONFIG = birefnet.Config(family="swin_v1", widths=(16, 32, 64, 128), depths=(1, 1, 1, 1), heads=(1, 2, 4, 8),
                         kernels=(1, 3), inner=8, branch=8, patch_inner=8, size=(64, 64))


class Stop(BaseException):
    """An interrupt, as newer hosts raise it."""


class Meter(Host):
    """A GPU that does not exist: room for passes of so many frames, once their steps are as small as
    `budget`."""

    def __init__(self, room: int = 99, budget: int | None = None, cpu_room: int = 99) -> None:
        self.room, self.budget, self.cpu_room = room, budget, cpu_room
        self.device, self.dtype = CPU, torch.float32
        self.tried, self.loads, self.said, self.checks, self.unloads = [], [], [], 0, 0

    def load(self, network, device, dtype, memory_bytes):
        self.loads.append((device.type, dtype, memory_bytes))
        self.device, self.dtype = device, dtype

    def is_loaded(self, network, device, dtype):
        self.unloads -= 1
        return self.unloads < 0

    def free_memory(self, device):
        return None

    def check_interrupt(self):
        self.checks += 1

    def announce(self, text):
        self.said.append(text)

    def note(self, text):
        self.said.append(text)

    def say_cpu_takes_over(self, device):
        self.said.append(f"cpu instead of {device}")

    def compute(self, network, pictures):
        """Alpha = the pictures' red, if there is memory for that."""
        self.tried.append((self.device.type, len(pictures), network.budget_bytes))
        if self.device.type == "cpu":
            fits = len(pictures) <= self.cpu_room
        else:
            fits = len(pictures) <= self.room and (self.budget is None
                                                   or (network.budget_bytes or 1 << 62) <= self.budget)
        if not fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return pictures[..., 0].clone()


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = birefnet.BiRefNet(CONFIG).initialize()
    return network.state_dict()


@pytest.fixture
def network(state):
    return birefnet.load(state, size=64, form="plain")


def frames(total: int) -> torch.Tensor:
    """[total,2,2,1], each of the value of its index / total."""
    return (torch.arange(total) / max(total, 1)).view(-1, 1, 1, 1).expand(-1, 2, 2, 1).clone()


def worker(network, meter: Meter, total: int = 99, wanted: int = 0, **home) -> NetworkWorker:
    owner = Runner(network, home.get("device", CUDA), home.get("dtype", torch.float32), meter)
    return NetworkWorker(owner, meter.compute, (64, 64), total, per_pass=wanted)


def run(work: NetworkWorker, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([alpha for _, alpha in runner.run_passes(work, runner.slices(images))])


# The ladder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 5, 40])
def test_every_frame_once_and_in_order_in_passes_of_what_the_plan_says(network, total):
    meter = Meter()
    assert torch.equal(run(worker(network, meter, total), frames(total)), frames(total)[..., 0])
    assert [size
            for _, size, _ in meter.tried] == [min(16,
                                                   total)] * (total // 16) + [total % 16] * (total % 16 > 0)
    assert meter.checks == len(meter.tried)


def test_passes_halve_until_they_fit_and_stay_so(network):
    meter = Meter(room=3)
    assert torch.equal(run(worker(network, meter), frames(20)), frames(20)[..., 0])
    assert [size for _, size, _ in meter.tried] == [16, 8, 4, *[2] * 10]
    assert not any("cpu" in text for text in meter.said[1:])


def test_then_steps_get_smaller_then_the_cpu_takes_over_in_float32(network):
    meter = Meter(room=0)
    work = worker(network, meter, wanted=2, dtype=torch.float16)
    assert torch.equal(run(work, frames(3)), frames(3)[..., 0])
    assert meter.tried == [("cuda", 2, None), *(("cuda", 1, budget) for budget in (None, *FALLBACK_BUDGETS)),
                           *[("cpu", 1, None)] * 3]
    assert [(device, dtype) for device, dtype, _ in meter.loads] == [("cuda", torch.float16),
                                                                     ("cpu", torch.float32)]
    assert meter.loads[0][2] > 0 and meter.said.count("cpu instead of cuda") == 1


def test_smaller_steps_that_suffice_are_kept(network):
    meter = Meter(budget=FALLBACK_BUDGETS[0])
    run(worker(network, meter, wanted=1), frames(3))
    assert meter.tried == [("cuda", 1, None), *[("cuda", 1, FALLBACK_BUDGETS[0])] * 3]


def test_too_large_for_the_cpu_too_is_a_sentence_that_says_what_to_do(network):
    meter = Meter(room=0, cpu_room=0)
    with pytest.raises(OutOfMemory, match="^Choose a smaller size or a lighter checkpoint"):
        run(worker(network, meter), frames(3))
    assert meter.tried[-1] == ("cpu", 1, FALLBACK_BUDGETS[-1])


def test_a_network_that_does_not_fit_the_device_runs_on_the_cpu(network):
    meter = Meter()
    load = meter.load

    def full(network, device, dtype, memory_bytes):
        if device.type == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        load(network, device, dtype, memory_bytes)

    meter.load = full
    assert torch.equal(run(worker(network, meter), frames(2)), frames(2)[..., 0])
    assert meter.said[0] == "cpu instead of cuda"
    with pytest.raises(OutOfMemory, match="while loading the network"):
        meter.load = lambda *_: (_ for _ in ()).throw(MemoryError())
        worker(network, meter, device=CPU)


def test_a_picture_too_large_for_the_gpu_does_not_keep_smaller_ones_from_it(network):
    meter = Meter(room=0)
    owner = Runner(network, CUDA, torch.float32, meter)

    def places(side: int) -> list[str]:
        before = len(meter.tried)
        run(NetworkWorker(owner, meter.compute, (side, side), 1), frames(1))
        return [device for device, *_ in meter.tried[before:]]

    assert places(128) == ["cuda"] * 3 + ["cpu"]
    assert places(128) == ["cpu"]
    meter.room = 1
    assert places(64) == ["cuda"] and places(128) == ["cuda"]


def test_the_plan_fits_what_is_free_and_is_announced_once(network):
    meter = Meter()
    meter.free_memory = lambda device: 2 << 30
    work = worker(network, meter, wanted=0)
    assert work.plan.size == (64, 64) and work.frames == work.plan.frames == 16
    assert work.plan.peak <= 0.7 * (2 << 30)
    run(work, frames(40))
    assert [text for text in meter.said] == [work.announcement()]
    assert meter.said[0].startswith("64×64, 16 frames at a time: about ")
    assert meter.said[0].endswith(" of 2.0 GiB free on cuda")
    assert worker(network, meter, wanted=5).plan.frames == 5
    assert worker(network, Meter(), device=CPU).plan.frames == 1  # all cores work on one frame


def test_memory_is_relieved_once_the_failed_pass_has_let_go(network):
    meter, held = Meter(), []

    def compute(network, pictures):
        if len(pictures) > 1:
            activations = torch.zeros(8)
            held.append(weakref.ref(activations))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return pictures[..., 0]

    meter.compute, released = compute, []
    meter.release_memory = lambda: released.append(held[-1]() is None)
    run(worker(network, meter, wanted=2), frames(2))
    assert released == [True]


def test_where_delivering_runs_out_of_memory_the_same_frames_are_delivered_again(network):
    got, failed = torch.zeros(5, 2, 2), []

    def deliver(start, stop, pictures, alpha):
        assert torch.equal(pictures[..., 0], alpha)
        if stop - start > 1:
            failed.append((start, stop))
            raise MemoryError
        got[start:stop] = alpha

    runner.run_batch(worker(network, Meter(), wanted=3), frames(5), deliver)
    assert torch.equal(got, frames(5)[..., 0]) and failed == [(0, 3), (3, 5)]


# Order and laziness -----------------------------------------------------------------------------------------


class Beside:
    """A worker whose device works while the caller does something else."""

    host, frames, overlaps = Host(), 2, True

    def __init__(self) -> None:
        self.events, self.closed = [], 0

    def start(self, pictures):
        first = int(pictures[0, 0, 0, 0])
        self.events.append(f"start {first}")
        return lambda: self.events.append(f"wait {first}") or pictures[..., 0]

    def lower(self):
        return False

    def close(self):
        self.closed += 1


def numbered(read: list[int], total: int | None = None):
    for number in count() if total is None else range(total):
        read.append(number)
        yield torch.full((2, 2, 1), float(number))


def test_the_next_pass_is_begun_before_the_former_is_handed_out():
    beside, read = Beside(), []
    for picture, alpha in runner.run_stream(lambda first: beside, numbered(read, 5)):
        beside.events.append(f"got {int(alpha[0, 0, 0])}")
        assert torch.equal(picture[..., 0], alpha)
    assert beside.events == ["start 0", "start 2", "wait 0", "got 0", "got 1", "start 4", "wait 2", "got 2",
                             "got 3",
                             "wait 4", "got 4"]
    assert beside.closed == 1


def test_a_stream_without_end_is_read_two_passes_ahead_at_most():
    beside, read = Beside(), []
    stream = runner.run_stream(lambda first: beside, numbered(read))
    assert read == []
    for number, (_, alpha) in enumerate(islice(stream, 101)):
        assert alpha[0, 0, 0] == number and len(read) <= number + 4
    stream.close()
    assert beside.closed == 1


def test_no_more_than_two_passes_are_held():
    beside, alive = Beside(), weakref.WeakSet()

    def tracked():
        for number in range(30):
            frame = torch.full((2, 2, 1), float(number))
            alive.add(frame)
            yield frame
            del frame

    most = 0
    for _ in runner.run_stream(lambda first: beside, tracked()):
        most = max(most, len(alive))
    assert 0 < most <= 4


def test_an_empty_stream_asks_for_no_worker():
    assert list(runner.run_stream(lambda first: pytest.fail("asked"), iter([]))) == []


@pytest.mark.parametrize("error", [Stop(), KeyboardInterrupt(), ValueError("bad input"),
                                   OSError("the clip ends here")])
def test_interrupts_and_other_errors_pass_through_and_close_the_worker(error):
    beside, read = Beside(), []

    def interrupt():
        if len(beside.events) > 2:
            raise error

    beside.host = Host()
    beside.host.check_interrupt = interrupt
    with pytest.raises(type(error)):
        list(runner.run_stream(lambda first: beside, numbered(read)))
    assert beside.closed == 1 and len(read) < 10


# A network that another thread unloads ----------------------------------------------------------------------


def test_a_network_that_was_unloaded_meanwhile_is_loaded_again(network):
    meter = Meter()
    work = worker(network, meter, wanted=1)
    meter.unloads = 1
    assert torch.equal(run(work, frames(2)), frames(2)[..., 0])
    assert len(meter.loads) == 2 and meter.loads[1][2] > 0
    assert "loading it again" in meter.said[-1]


def test_a_network_that_is_unloaded_in_every_pass_is_a_sentence(network):
    meter = Meter()
    work, meter.unloads = worker(network, meter), 10**6

    def compute(network, pictures):
        raise RuntimeError("Expected all tensors to be on the same device")

    work.compute = compute
    with pytest.raises(RuntimeError, match="unloaded again and again"):
        run(work, frames(1))


# Numbers that are none --------------------------------------------------------------------------------------


def broken(state, value: float = float("nan")) -> dict[str, torch.Tensor]:
    """A checkpoint with one value of the encoder that is no number."""
    tensor = state["bb.layers.0.blocks.0.attn.proj.weight"].clone()
    tensor[0, 0] = value
    return state | {"bb.layers.0.blocks.0.attn.proj.weight": tensor}


@pytest.mark.parametrize("form", ["plain", "inference"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_damaged_checkpoint_is_a_sentence_and_no_empty_mask(state, form, value, dtype):
    network = birefnet.load(broken(state, value), size=64, form=form, dtype=dtype)
    picture = torch.rand(1, 40, 60, 3)
    for matte in (lambda: birefnet.matte(network, picture), lambda: Runner(network).matte(picture),
                  lambda: Runner(network).network_alpha(torch.rand(1, 3, 64, 64)),
                  lambda: list(Runner(network).mattes(iter(picture)))):
        with pytest.raises(UserError, match="^Load another copy of the checkpoint.* holds NaN or infinite "
                                            "values"):
            matte()


def test_an_infinite_logit_is_no_certain_subject(state):
    network = birefnet.load(state | {"decoder.conv_out1.0.bias": torch.tensor([float("inf")])}, size=64)
    with pytest.raises(UserError, match="^Load another copy"):
        birefnet.matte(network, torch.rand(1, 40, 60, 3))


def test_a_picture_that_is_not_finite_is_told_from_a_damaged_checkpoint(network):
    picture = torch.rand(1, 40, 60, 3)
    picture[0, 3, 4, 1] = float("nan")
    with pytest.raises(UserError, match="^Take another picture"):
        birefnet.matte(network, picture)


def test_what_a_half_precision_cannot_hold_is_computed_in_float32(state, monkeypatch):
    network = birefnet.load(state, size=64, dtype=torch.bfloat16)
    pictures = torch.rand(3, 40, 60, 3)
    expected = birefnet.matte(birefnet.place(birefnet.load(state, size=64, dtype=torch.bfloat16), "cpu",
                                             torch.float32),
                              pictures)

    def overflow(module, inputs, logits):
        return logits if next(module.parameters()).dtype is torch.float32 else logits / 0

    network.register_forward_hook(overflow)
    assert torch.allclose(birefnet.matte(network, pictures), expected, atol=1e-5)
    meter = Meter()
    owner = Runner(network, host=meter)
    found = torch.cat([alpha for _, alpha in owner.mattes(iter(pictures))])
    assert torch.allclose(found, expected, atol=1e-5)
    assert sum("computing in fp32" in text for text in meter.said) == 1
    assert next(network.parameters()).dtype is torch.bfloat16  # as its host wants it
