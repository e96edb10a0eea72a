"""What only a CUDA device can show; skipped without one. No test here waits for a clock: speed is for
`bench`."""

import threading
from pathlib import Path

import pytest
import torch
from tiny_build import random_state

import birefnet
from birefnet import Config
from birefnet.device.cuda_graphs import Graphs
from birefnet.device.transfer import BUFFER_BYTES, Transfer
from birefnet.network import deform
from birefnet.network.deform import plain as plain_form
from birefnet.network.deform import triton as deform_triton

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
GPU = torch.device("cuda", 0)
NANO = Path(__file__).parents[2] / "weights" / "birefnet-nano.safetensors"
PHOTO = Path(__file__).parents[1] / "data" / "dandelion.jpg"
SWIN = Config(family="swin_v1", widths=(96, 192, 384, 768), depths=(2, 2, 2, 2), heads=(3, 6, 12, 24),
              size=(256, 256))
LARGE = Config(family="swin_v1", widths=(192, 384, 768, 1536), depths=(2, 2, 18, 2), heads=(6, 12, 24, 48),
               window=12)
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """fp32 as fp32: these tests compare numbers."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def swin_state():
    return random_state(SWIN)


def on_gpu(state, dtype=torch.float32, **options) -> birefnet.BiRefNet:
    return birefnet.place(birefnet.load(state, **options), GPU, dtype)


# The kernel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_the_triton_kernel_is_trusted_here_and_equals_the_plain_form(dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 64, 40, 56, device=GPU).to(dtype).to(memory_format=torch.channels_last)
    offset = 5 * torch.randn(2, 98, 40, 56, device=GPU)
    offset[0, :, ::7, ::5] = float("nan")
    offset[1, :, ::5, ::7] = 1e30
    modulation = 2 * torch.rand(2, 49, 40, 56, device=GPU)
    with torch.inference_mode():
        assert deform.usable(x)
        plain = torch.cat(list(plain_form.deformed_columns(x.float().cpu(), offset.cpu(), modulation.cpu(),
                                                           7)))
        columns = torch.cat(list(deform_triton.deformed_columns(x, offset, modulation, 7))).float().cpu()
    assert torch.allclose(columns, plain, rtol=deform.TOLERANCES[dtype], atol=1e-5)


# The network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "inference"])
def test_both_forms_give_the_processors_numbers(swin_state, form):
    x = torch.randn(2, 3, 256, 192)
    with torch.inference_mode():
        expected = birefnet.load(swin_state, form="plain")(x)
        found = on_gpu(swin_state, form=form)(x.to(GPU)).cpu()
    assert (found - expected).abs().max() < 2e-3


@pytest.mark.parametrize("dtype", HALVES)
def test_alpha_in_half_precision(dtype):
    from birefnet.imaging import pictures

    photo = pictures.read(PHOTO)
    exact = birefnet.matte(birefnet.load(NANO), photo)
    error = (birefnet.matte(birefnet.place(birefnet.load(NANO), GPU, dtype), photo) - exact).abs()
    assert error.mean() < 2e-3 and error.flatten().quantile(0.999) < 2e-2


def test_a_second_pass_waits_for_nothing(swin_state):
    """No copy from the host, no answer from the device: either would end the overlap, and forbid
    recording."""
    model = on_gpu(swin_state, torch.float16)
    photo = torch.rand(2, 300, 200, 4, device=GPU)
    birefnet.matte(model, photo)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        birefnet.matte(model, photo)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Recorded passes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_recorded_pass_gives_the_same_matte(swin_state, dtype):
    model = on_gpu(swin_state, dtype)
    photos = [torch.rand(1, 128, 100, 3, device=GPU) for _ in range(4)]
    expected = [birefnet.matte(model, photo, 128) for photo in photos]
    model.graphs = Graphs()
    found = [birefnet.matte(model, photo, 128) for photo in photos]
    assert model.graphs.recording is not None and not model.graphs.failed
    for mine, theirs in zip(found, expected):
        assert torch.allclose(mine, theirs, atol=1e-5 if dtype is torch.float32 else 5e-3)


def test_one_odd_pass_does_not_cost_the_recording(tiny):
    model = birefnet.place(tiny, GPU, torch.float32)
    model.graphs = Graphs()
    for batch in (4, 4, 4):
        birefnet.matte(model, torch.rand(batch, 64, 64, 3, device=GPU))
    recording = model.graphs.recording
    birefnet.matte(model, torch.rand(1, 64, 64, 3, device=GPU))
    birefnet.matte(model, torch.rand(4, 64, 64, 3, device=GPU))
    assert model.graphs.recording is recording


def test_weights_that_come_back_elsewhere_are_recorded_anew(tiny):
    model = birefnet.place(tiny, GPU, torch.float32)
    photo = torch.rand(1, 64, 64, 3, device=GPU)
    expected = birefnet.matte(model, photo)
    model.graphs = Graphs()
    for _ in range(3):
        birefnet.matte(model, photo)
    old = model.graphs.recording
    model.cpu()
    kept = [torch.zeros_like(tensor, device=GPU) for tensor in model.parameters()]  # where the weights were
    birefnet.place(model, GPU, torch.float32)
    for _ in range(3):
        assert torch.allclose(birefnet.matte(model, photo), expected, atol=1e-5)
    assert model.graphs.recording is not old and len(kept)


def test_a_pass_that_cannot_be_recorded_is_one_log_line(tiny, caplog):
    model = birefnet.place(tiny, GPU, torch.float32)
    photo = torch.rand(1, 64, 64, 3, device=GPU)
    expected = birefnet.matte(model, photo)
    model.graphs = Graphs()
    model.register_forward_hook(lambda module, inputs, logits: logits + 0 * logits.sum().item())  # waits
    stream = torch.cuda.current_stream()
    for _ in range(4):
        assert torch.allclose(birefnet.matte(model, photo), expected, atol=1e-5)
    assert torch.cuda.current_stream() == stream and model.graphs.failed
    torch.cuda.manual_seed(3)
    expected = torch.rand(4, device=GPU)  # others still draw random numbers, and the same ones
    torch.cuda.manual_seed(3)
    assert torch.equal(torch.rand(4, device=GPU), expected)
    assert len([line for line in caplog.messages if "CUDA graphs are off" in line]) == 1


def test_dropping_a_recording_gives_its_memory_back(swin_state):
    model = on_gpu(swin_state)
    photo = torch.rand(1, 256, 256, 3, device=GPU)
    birefnet.matte(model, photo)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    model.graphs = Graphs()
    for _ in range(3):
        birefnet.matte(model, photo)
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() > before
    model.graphs.drop()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + (2 << 20)


# Copies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("elements", [0, 1, 1000, BUFFER_BYTES // 4, BUFFER_BYTES + 12345])
def test_what_goes_up_comes_down(elements):
    transfer = Transfer(GPU)
    x = torch.rand(elements)
    assert torch.equal(transfer.download_later(transfer.upload(x))(), x)


def test_passes_in_flight_keep_their_values():
    transfer = Transfer(GPU)
    weight = torch.eye(4096, device=GPU)
    passes = [torch.rand(512, 4096) for _ in range(12)]
    results = []
    for x in passes:
        y = transfer.upload(x)
        for _ in range(20):  # work that lasts longer than the copies
            y = y @ weight
        results.append(transfer.download_later(y))
        del y
    for x, result in zip(passes, results):
        assert torch.allclose(result(), x, atol=1e-5)


def test_a_download_does_not_wait_for_later_work():
    transfer = Transfer(GPU)
    result = transfer.download_later(torch.ones(1000, device=GPU))
    torch.cuda._sleep(2_000_000_000)  # about a second of the device's clock
    later = torch.cuda.Event()
    later.record()
    assert result().sum() == 1000 and not later.query()


# Memory -----------------------------------------------------------------------------------------------------


def peak(model, size, frames) -> int:
    x = torch.zeros(frames, 3, *size, device=GPU, dtype=next(model.parameters()).dtype)
    with torch.inference_mode():
        model(x)  # tables, libraries
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model(x)
        torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before + x.numel() * x.element_size()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size, frames", [((512, 512), 1), ((768, 1024), 3), ((1440, 2560), 1)])
@pytest.mark.parametrize("budget", [None, 256 << 20, 32 << 20])
def test_the_estimate_covers_the_measured_peak(swin_state, dtype, size, frames, budget):
    model = on_gpu(swin_state, dtype)
    model.budget_bytes = budget
    measured, estimate = peak(model, size, frames), birefnet.activation_bytes(model, size, frames, budget)
    found = f"{measured >> 20} MiB, estimated {estimate >> 20} MiB"
    assert measured < estimate < 3 * measured + (256 << 20), found


def test_2048_squared_on_the_large_backbone_fits_four_gibibytes():
    model = on_gpu(random_state(LARGE), torch.float16)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    plan = birefnet.plan(model, (2048, 2048), free=(4 << 30) - weights)
    model.budget_bytes = plan.budget
    assert weights + peak(model, (2048, 2048), 1) < 4 << 30


def test_a_plan_for_little_memory_runs_in_little_memory(swin_state):
    model, size = on_gpu(swin_state, torch.float16), (1536, 1536)
    unplanned = peak(model, size, 1)
    room = unplanned // 2
    model.budget_bytes = birefnet.plan(model, size, 4, free=room).budget
    assert model.budget_bytes is not None and peak(model, size, 1) < unplanned


def test_out_of_memory_is_known_by_its_name(tiny):
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60, dtype=torch.uint8, device=GPU)
    assert birefnet.is_out_of_memory(error.value)


def test_free_memory_counts_what_pytorch_keeps_for_later():
    torch.cuda.empty_cache()
    before = birefnet.free_memory(GPU)
    torch.empty(256 << 20, dtype=torch.uint8, device=GPU)  # given back to PyTorch at once
    assert abs(birefnet.free_memory(GPU) - before) < 64 << 20


# Threads ----------------------------------------------------------------------------------------------------


def test_recording_beside_a_thread_that_allocates(tiny):
    """A host answers its pages, and loads other models, while a pass is being recorded."""
    model = birefnet.place(tiny, GPU, torch.float32)
    model.graphs, photo, stop = Graphs(), torch.rand(1, 64, 64, 3, device=GPU), threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            torch.ones(1 << 20, device=GPU).sum().item()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        expected = birefnet.matte(model, photo)
        for _ in range(5):
            assert torch.allclose(birefnet.matte(model, photo), expected, atol=1e-5)
    finally:
        stop.set()
        thread.join()
