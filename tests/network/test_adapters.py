"""Adapters stack on a checkpoint while it is loaded: the sum is exact, and what does not fit is one clear
sentence."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_build import TINY, random_state

import birefnet
from birefnet import Adapter, CheckpointError, Config
from birefnet.checkpoint import adapters
from birefnet.training import low_rank

SWIN = Config(family="swin_v1", widths=(12, 24, 48, 96), depths=(1, 2, 1, 1), heads=(1, 2, 4, 8), window=5,
              mlp_ratios=(3, 3, 3, 3), inner=8, branch=8, patch_inner=8, gate=4, size=(64, 64))
LAYERS = {"pvt_v2": {"q", "kv", "proj", "fc1", "fc2"}, "swin_v1": {"qkv", "proj", "fc1", "fc2", "reduction"}}


def taught(state: dict, seed: int = 0, rank: int = 2, alpha: float = 3.0, **metadata: str) -> Adapter:
    """A low-rank adapter whose pairs are anything but zero."""
    model = birefnet.load(state, size=64, form="plain")
    about = adapters.make_metadata("lora", model, rank, alpha)
    generator = torch.Generator().manual_seed(seed)
    for pair in low_rank.make_low_rank(model, rank, alpha, seed):
        pair.data = 0.3 * torch.randn(pair.shape, generator=generator).half().float()  # as stored
    return Adapter(low_rank.extract_low_rank(model), about | metadata)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_state):
    """The files that `files` copies."""
    folder = tmp_path_factory.mktemp("saved")
    birefnet.save(birefnet.load(tiny_state, size=64, form="plain"), folder / "base.safetensors")
    taught(tiny_state).save(folder / "mine.safetensors")
    return folder


@pytest.fixture
def files(tmp_path, saved):
    """A checkpoint and an adapter of it, which a test may spoil."""
    return tuple(Path(shutil.copy(saved / name, tmp_path)) for name in ("base.safetensors",
                                                                        "mine.safetensors"))


def image() -> torch.Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", [TINY, SWIN], ids=["pvt", "swin"])
@pytest.mark.parametrize("form", ["plain", "inference"])
def test_merged_at_load_it_computes_what_learned(config, form):
    state = random_state(config)
    learned = birefnet.load(state, form="plain")
    pairs = low_rank.make_low_rank(learned, 2, 3.0, seed=5)
    names = [name for name, module in learned.bb.named_modules()
             if isinstance(module, low_rank.LowRankLinear)]
    assert {name.rsplit(".", 1)[-1] for name in names} == LAYERS[config.family]
    assert torch.equal(learned(image()),
                       birefnet.load(state, form="plain")(image())), "it begins as the checkpoint"
    for pair in pairs:
        pair.data = 0.3 * torch.randn(pair.shape,
                                      generator=torch.Generator().manual_seed(len(pair))).half().float()
    adapter = Adapter(low_rank.extract_low_rank(learned),
                      {"birefnet.adapter": "lora", "birefnet.alpha": "3.0"})
    merged = birefnet.load(state, form=form, adapters=[(adapter, 1)])
    assert (merged(image()) - learned(image())).abs().max() < 2e-3
    assert (merged(image()) - birefnet.load(state, form=form)(image())).abs().max() > 0.05


def test_several_stack_each_with_its_strength(tiny_state):
    first, second = taught(tiny_state), taught(tiny_state, seed=1)
    name = "bb.block2.0.mlp.fc1.weight"
    change = {"decoder.conv_out1.0.bias.diff": torch.tensor([0.5])}
    both = birefnet.load(tiny_state, form="plain",
                         adapters=[(first, 0.5), (second, -2), (Adapter(change, {}), 3)])
    expected = tiny_state[name] + 0.5 * first.change(name) - 2 * second.change(name)
    assert torch.equal(both.state_dict()[name], expected)
    assert both.state_dict()["decoder.conv_out1.0.bias"].item() == pytest.approx(
        tiny_state["decoder.conv_out1.0.bias"].item() + 1.5)
    untouched = "decoder.decoder_block4.conv_in.weight"
    assert torch.equal(both.state_dict()[untouched], tiny_state[untouched])


def test_the_checkpoint_it_is_added_to_stays_as_it_was(tiny_state, files, tmp_path):
    before = {name: tensor.clone() for name, tensor in tiny_state.items()}
    pickled = tmp_path / "base.pth"
    torch.save(tiny_state, pickled)
    name = "decoder.conv_out1.0.weight"
    head = Adapter({f"{name}.diff": torch.ones_like(tiny_state[name])}, {})
    logits = [birefnet.load(source, size=64, adapters=[(head, 1.0)])(image())
              for source in (tiny_state, pickled, files[0])]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])  # conv_out1 is read twice
    assert all(torch.equal(tiny_state[name], tensor) for name, tensor in before.items())


def test_a_half_precision_rounds_once(tiny_state):
    adapter, name = taught(tiny_state), "bb.block1.0.attn.q.weight"
    half = birefnet.load(tiny_state, dtype=torch.bfloat16, form="plain", adapters=[(adapter, 1.0)])
    exact = tiny_state[name] + adapter.change(name)
    assert torch.equal(half.state_dict()[name], exact.bfloat16())


def test_a_file_gives_what_is_in_memory(files, tiny_state):
    base, path = files
    saved = birefnet.load(base, adapters=[(path, 1.0)])(image())
    assert torch.equal(saved, birefnet.load(base, adapters=[(taught(tiny_state), 1.0)])(image()))
    assert path.stat().st_size < 40_000 < base.stat().st_size
    with safe_open(path, "pt") as file:
        told = file.metadata()
    assert told["birefnet.adapter"] == "lora"
    assert (told["birefnet.rank"], told["birefnet.alpha"]) == ("2", "3.0")
    assert told["birefnet.base"].startswith("pvt_v2 8-16-40-64")
    assert len(told["birefnet.base_fingerprint"]) == 16
    assert [child.name for child in path.parent.iterdir() if child.suffix != ".safetensors"] == []


def test_differences_hold_what_changed_and_nothing_else(tiny_state):
    after = tiny_state | {"decoder.conv_out1.0.bias": tiny_state["decoder.conv_out1.0.bias"] + 1}
    assert list(low_rank.extract_differences(tiny_state, after)) == ["decoder.conv_out1.0.bias.diff"]


def test_only_another_checkpoint_of_the_same_build_is_warned_of(files, tiny_state, caplog):
    base, path = files
    with caplog.at_level(logging.WARNING):
        birefnet.load(base, adapters=[(path, 1.0)])
        birefnet.load({name: tensor.half() for name, tensor in tiny_state.items()}, adapters=[(path, 1.0)])
        assert not caplog.records
        birefnet.load(tiny_state | {"bb.norm3.bias": torch.zeros(40)}, adapters=[(path, 1.0)])
    assert "mine.safetensors was made on another checkpoint of the same build" in caplog.text


# What is refused --------------------------------------------------------------------------------------------


def test_an_adapter_of_another_build_says_which(files):
    wider = random_state(Config(**{**TINY.__dict__, "widths": (16, 16, 40, 64), "heads": (1, 2, 5, 8)}))
    with pytest.raises(CheckpointError, match=r"mine.safetensors does not fit: it was made on pvt_v2 "
                                              r"8-16-40-64, .*checkpoint is pvt_v2 16-16-40-64, .*\[32, 16\] "
                                              r"here, not \[16, 8\]"):
        birefnet.load(wider, adapters=[(files[1], 1.0)])
    with pytest.raises(CheckpointError, match="^Choose the checkpoint that the adapter was made on: .*is "
                                              "not in this checkpoint"):
        birefnet.load(random_state(SWIN), adapters=[(files[1], 1.0)])


def test_an_adapter_is_no_checkpoint_nor_a_checkpoint_an_adapter(files):
    with pytest.raises(CheckpointError, match=r"^Load the checkpoint .*: this is an adapter, not a "
                                              r"checkpoint; it was made on pvt_v2 8-16-40-64"):
        birefnet.load(files[1])
    with pytest.raises(CheckpointError, match="^Choose it as the checkpoint: .*base.safetensors: this is a "
                                              "whole checkpoint, not an adapter"):
        birefnet.load(files[0], adapters=[(files[0], 1.0)])


A, B = "bb.block1.0.attn.q.lora_A.weight", "bb.block1.0.attn.q.lora_B.weight"


@pytest.mark.parametrize("spoil, words", [
    (lambda t: {A: t[A]}, "low-rank pair of bb.block1.0.attn.q does not fit together"),
    (lambda t: {A: t[A], B: t[B][:, :1]}, r"expected lora_A \[rank, in\] and lora_B \[out, rank\]"),
    (lambda t: {A: t[A][:0], B: t[B][:, :0]}, "does not fit together"),
    (lambda t: {A: t[A].flatten(), B: t[B]}, "does not fit together"),
    (lambda t: {**t, A: torch.full_like(t[A], float("nan"))}, "values that are not numbers"),
    (lambda t: {**t, A: t[A].repeat(2, 1), B: t[B].repeat(1, 2)}, r"ranks \[2, 4\]; expected one rank"),
    (lambda t: {**t, A: t[A].int()}, "stored as I32"),
    (lambda t: {"lora_unet_down.weight": t[A]}, "not a BiRefNet adapter: expected .*, found "
                                                "lora_unet_down.weight"),
    (lambda t: {"x": torch.zeros(1)}, "not a BiRefNet adapter"),
])
def test_tensors_that_make_no_adapter_are_refused(files, spoil, words):
    base, path = files
    with safe_open(path, "pt") as file:
        told = file.metadata()
    save_file({name: tensor.contiguous() for name, tensor in spoil(load_file(path)).items()}, path, told)
    with pytest.raises(CheckpointError, match=words) as error:
        birefnet.load(base, adapters=[(path, 1.0)])
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("content, words", [
    (b"", "the file is empty"), (b"<!doctype html>", "a web page"),
    (b"version https://git-lfs", "Git LFS pointer"),
    ((2**40).to_bytes(8, "little") + b"{}", "damaged or truncated"),
    (b"hello, world", "neither a safetensors nor"),
])
def test_files_that_are_none_are_refused(files, content, words):
    files[1].write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        birefnet.load(files[0], adapters=[(files[1], 1.0)])


def test_a_truncated_file_is_refused(files):
    files[1].write_bytes(files[1].read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        birefnet.load(files[0], adapters=[(files[1], 1.0)])


def test_odd_numbers_are_refused(files, tiny_state):
    with pytest.raises(CheckpointError, match="^Set the strength of adapter mine.safetensors .* is nan"):
        birefnet.load(files[0], adapters=[(files[1], float("nan"))])
    taught(tiny_state, **{"birefnet.alpha": "much"}).save(files[1])
    with pytest.raises(CheckpointError, match="^Correct birefnet.alpha .*: it is 'much'; expected a number"):
        birefnet.load(files[0], adapters=[(files[1], 1.0)])
    with pytest.raises(FileNotFoundError):
        birefnet.load(files[0], adapters=[("gone.safetensors", 1.0)])
