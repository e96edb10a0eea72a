"""A real host with more than one thing going on: prompts, models, interrupts, unloading, and a second
host."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from host import Host, error_of, values
from workflow import load, node

import birefnet

BATCH = 12
AGAIN = "the network was unloaded during the run; loading it again"


def cut(loaded: dict, frames: int = BATCH, **more: dict) -> dict:
    """A batch of one picture through a model, a frame at a time; `more`: nodes, "model" and "image" among
    them."""
    return {
        "one": node("EmptyImage", width=96, height=72, batch_size=frames, color=0x3070C0),
        "two": node("EmptyImage", width=40, height=30, batch_size=frames, color=0xF0C010),
        "image": node("ImageCompositeMasked", destination=["one", 0], source=["two", 0], x=20, y=16,
                      resize_source=False),
        "loaded": loaded,
        "segment": node("BiRefSegment", model=["model" if "model" in more else "loaded", 0],
                        image=["picture" if "picture" in more else "image", 0], size=64, frames_per_pass=1),
        "shown": node("MaskPreview", mask=["segment", 0]),
    } | more


def masks(host: Host, record: dict) -> np.ndarray:
    return np.stack([values(picture, 0) for picture in host.pictures(record)["shown"]])


@pytest.fixture(scope="module")
def alone(faulty_host) -> dict[str, np.ndarray]:
    """What each model finds where nothing else is going on."""
    return {name: masks(faulty_host, faulty_host.run(cut(load(name, dtype="fp32"))))
            for name in ("tiny.safetensors", "swin.safetensors")}


def test_two_clients_with_two_models_get_their_own_masks(faulty_host, alone):
    queued = [(name, faulty_host.queue(cut(load(name, dtype="fp32"), frames=BATCH - turn), client=name))
              for turn in range(3) for name in alone]
    for name, prompt in queued:
        found = masks(faulty_host, faulty_host.succeed(prompt))
        assert np.array_equal(found, alone[name][:len(found)])


def test_an_interrupt_stops_one_prompt_and_the_next_is_right(faulty_host, alone):
    first = cut(load("tiny.safetensors", dtype="fp32"), frames=2000)
    second = []

    def stop(event: str, data: dict) -> None:
        if event == "progress" and data["node"] == "segment" and not second:
            second.append(faulty_host.queue(cut(load("swin.safetensors", dtype="fp32"), frames=BATCH - 4)))
            faulty_host.interrupt()

    assert error_of(faulty_host.watch(first, stop)) == "interrupted"
    assert np.array_equal(masks(faulty_host, faulty_host.succeed(second[0])),
                          alone["swin.safetensors"][:BATCH - 4])


@pytest.mark.parametrize("between", [True, False], ids=["between passes", "in the middle of a pass"])
@pytest.mark.parametrize("name", ["tiny.safetensors", "swin.safetensors"])
def test_a_model_that_is_unloaded_while_it_runs_is_loaded_again(faulty_host, alone, name, between):
    unload, before = node("Unload", model=["loaded", 0], times=2,
                          between=between), faulty_host.log().count(AGAIN)
    record = faulty_host.run(cut(load(name, dtype="fp32"), model=unload))
    assert np.array_equal(masks(faulty_host, record), alone[name])
    assert faulty_host.log().count(AGAIN) == before + 2


def test_a_model_that_is_always_unloaded_is_one_sentence_and_the_queue_lives_on(faulty_host, alone):
    unload = node("Unload", model=["loaded", 0], times=1000, between=False)
    message = faulty_host.fail(cut(load("tiny.safetensors", dtype="fp32"), model=unload))
    assert "unloaded again and again while it ran" in message
    record = faulty_host.run(cut(load("tiny.safetensors", dtype="fp32"), frames=BATCH - 1))
    assert np.array_equal(masks(faulty_host, record), alone["tiny.safetensors"][1:])


def test_the_host_may_unload_all_models_from_another_thread_and_between_prompts(faulty_host, alone):
    workflow = cut(load("swin.safetensors", dtype="fp32"), picture=node("Freeing", image=["image", 0]),
                   freed=node("Freed", mask=["segment", 0]), shown=node("MaskPreview", mask=["freed", 0]))
    prompt = faulty_host.queue(workflow)
    faulty_host.free()  # asks to do so, too, once the prompt is over
    assert np.array_equal(masks(faulty_host, faulty_host.succeed(prompt)), alone["swin.safetensors"])
    record = faulty_host.run(cut(load("swin.safetensors", dtype="fp32"), frames=BATCH - 2))
    assert np.array_equal(masks(faulty_host, record), alone["swin.safetensors"][2:])


WAITS = "another thread unloads models; waiting for it"


def half_gone(seconds: float) -> dict:
    """A workflow that comes upon an entry in the host's list of models which is half gone for so long."""
    return cut(load("tiny.safetensors", dtype="fp32"),
               picture=node("HalfGone", image=["image", 0], seconds=seconds))


def test_an_entry_that_another_thread_leaves_half_gone_in_the_hosts_list_is_waited_out(faulty_host, alone):
    """Seen in runs of all tests: the host's own 'NoneType' object is not callable, while it loaded the
    network."""
    before = faulty_host.log().count(WAITS)
    assert np.array_equal(masks(faulty_host, faulty_host.run(half_gone(0.7))), alone["tiny.safetensors"])
    assert faulty_host.log().count(WAITS) == before + 1


def test_an_entry_that_stays_half_gone_is_taken_out_lest_the_host_end_at_the_next_prompt(faulty_host, alone):
    with faulty_host.waiting("STALE_SECONDS", 2):
        record = faulty_host.run(half_gone(1000))
    assert np.array_equal(masks(faulty_host, record), alone["tiny.safetensors"])
    assert "left 1 half unloaded in the host's list of loaded models" in faulty_host.log()
    record = faulty_host.run(cut(load("tiny.safetensors", dtype="fp32"), frames=BATCH - 3))
    assert np.array_equal(masks(faulty_host, record), alone["tiny.safetensors"][3:])


def test_two_hosts_on_one_model_folder_while_a_checkpoint_is_replaced(faulty_host, tmp_path):
    """Both always load one whole state of the file: the one before or the one after."""
    models = faulty_host.base / "models" / "BiRefNet"
    states = [birefnet.load(models / name, form="plain") for name in ("tiny.safetensors", "tiny.safetensors")]
    with torch.no_grad():
        states[1].decoder.conv_out1[0].bias.add_(3)
    shared = models / "shared.safetensors"
    birefnet.save(states[0], shared)
    (tmp_path / "models").symlink_to(faulty_host.base / "models", target_is_directory=True)
    over = threading.Event()

    def replace() -> None:
        turn = 0
        while not over.wait(0.02):
            turn += 1
            birefnet.save(states[turn % 2], shared)

    def use(host: Host) -> set[bytes]:
        return {masks(host, host.run(cut(load("shared.safetensors", dtype="fp32"),
                                         frames=1 + number % 2)))[0].tobytes()
                for number in range(4)}

    with Host(faulty_host.comfyui, tmp_path, faulty_host.python) as second:
        thread = threading.Thread(target=replace)
        thread.start()
        try:
            found = use(faulty_host) | use(second)
        finally:
            over.set()
            thread.join()
        known = set()
        for state in states:
            birefnet.save(state, shared)
            known.add(masks(second,
                            second.run(cut(load("shared.safetensors", dtype="fp32"), frames=1)))[0].tobytes())
    assert len(known) == 2 and found <= known
