"""Any BiRefNet checkpoint loads by its tensors; everything else is one clear sentence."""

import io
import json
import logging
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden_cases import CASES
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_build import TINY, random_state

import birefnet
from birefnet import CheckpointError, Config
from birefnet.network.config import IMAGENET_MEAN, IMAGENET_STD

BUILDS = {
    "pvt": TINY,
    "swin": Config(family="swin_v1", widths=(12, 24, 48, 96), depths=(1, 2, 1, 1), heads=(1, 2, 4, 8),
                   window=5,
                   mlp_ratios=(3, 3, 3, 3), inner=8, branch=8, patch_inner=8, gate=4),
    "nocat": Config(**{**TINY.__dict__, "multi_scale": "none"}),
    "one kernel": Config(**{**TINY.__dict__, "kernels": (5,)}),
    "no kernels": Config(**{**TINY.__dict__, "kernels": ()}),
    "plain": Config(**{**TINY.__dict__, "attention": "plain", "kernels": (1, 3, 7)}),
    "none": Config(**{**TINY.__dict__, "attention": "none", "kernels": (1, 3, 7), "branch": 256}),
    "residual, no bn": Config(**{**TINY.__dict__, "residual": True, "batch_norm": False}),
    "inference only": Config(**{**TINY.__dict__, "supervision": False}),
    "reductions": Config(**{**TINY.__dict__, "reductions": (4, 2, 1, 1)}),
}


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_is_detected_from_its_tensors(name):
    config = BUILDS[name]
    found = birefnet.load(random_state(config)).config
    told = {"size": found.size, "task": found.task}
    assert found == Config(**{**config.__dict__, **told})


@pytest.mark.parametrize("manifest, backbone", [("swin_v1_t_1x256x256_s0", "swin_v1_t"),
                                                ("swin_v1_b_1x288x416_s10", "swin_v1_b"),
                                                ("pvt_v2_b2_1x256x256_s2", "pvt_v2_b2"),
                                                ("dino_v3_s_1x256x320_s0", "dino_v3_s"),
                                                ("dino_v3_s_plus_1x224x256_s1", "dino_v3_s_plus")])
def test_known_backbones_are_named(manifest, backbone):
    case = next(case for case in CASES if case.name == manifest)
    assert birefnet.load(case.empty_state(), form="plain").config.backbone == backbone


@pytest.mark.slow
def test_the_manifests_are_covered_completely():
    """Nothing of the authors' state dicts is unknown to us, and we need nothing they lack."""
    # the other cases differ in their images alone
    for case in {(case.backbone, case.option): case for case in CASES}.values():
        config = birefnet.load(case.empty_state(), form="plain", **case.overrides).config
        with torch.device("meta"):
            ours = birefnet.BiRefNet(config).state_dict()
        theirs = {name: tuple(shape) for name, shape in case.manifest.items()
                  if not name.endswith("relative_position_index")}
        assert {name: tuple(tensor.shape) for name, tensor in ours.items()} == theirs


# What training scripts do to a state dict
# --------------------------------------------------------------------------


@pytest.mark.parametrize("dress", [
    lambda state: state,
    lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    lambda state: {f"birefnet.{name}": tensor for name, tensor in state.items()},
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}, "lr": 1e-5},
    lambda state: {"model": {"state_dict": state}},
], ids=["plain", "module", "compiled", "nested name", "state_dict", "model", "twice"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_wrapped_and_nested_files_load(tmp_path, tiny_state, dress, legacy):
    path = tmp_path / "my fine-tune.pth"
    torch.save(dress(tiny_state), path, _use_new_zipfile_serialization=not legacy)
    model = birefnet.load(path)
    x = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        assert model(x).equal(birefnet.load(tiny_state)(x))


def test_integer_buffers_may_be_there_and_extra_tensors_are_said(tmp_path, tiny_state, caplog):
    state = {**tiny_state, "decoder.decoder_block4.bn_in.num_batches_tracked": torch.tensor(7),
             "bb.layers.0.blocks.0.attn.relative_position_index": torch.zeros(4, 4, dtype=torch.long),
             "cls_head.weight": torch.zeros(3, 3)}
    save_file(state, tmp_path / "a.safetensors")
    with caplog.at_level(logging.WARNING):
        birefnet.load(tmp_path / "a.safetensors")
    assert [record.getMessage() for record in caplog.records] == [
        "ignored tensors that this network does not have: cls_head.weight"]


def test_metadata_tells_what_tensors_cannot_and_arguments_override_it(tmp_path):
    config = Config(**{**TINY.__dict__, "heads": (2, 4, 5, 4), "multi_scale": "add", "normalize": "none",
                       "patch_order": "colour-fastest", "size": (64, 128), "task": "cracks"})
    birefnet.save(birefnet.BiRefNet(config), tmp_path / "a.safetensors", dtype=torch.float16)
    assert birefnet.load(tmp_path / "a.safetensors").config == config
    told = birefnet.load(tmp_path / "a.safetensors", size="dynamic", normalize="imagenet",
                         heads=(1, 2, 5, 8)).config
    assert (told.size, told.normalize, told.heads) == (None, "imagenet", (1, 2, 5, 8))


def test_formats_have_short_names(tiny_state):
    assert next(birefnet.load(tiny_state, dtype="bf16").parameters()).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="^Set dtype to auto, fp32, fp16, bf16 or .*'half'"):
        birefnet.load(tiny_state, dtype="half")


def test_a_catalogs_defaults_stand_behind_metadata_and_arguments(tmp_path, tiny, tiny_state):
    catalog = {"size": 512, "normalize": "none", "patch_order": "colour-fastest"}
    bare = birefnet.load(tiny_state, defaults=catalog, normalize="imagenet").config
    assert (bare.size, bare.normalize, bare.patch_order) == ((512, 512), "imagenet", "colour-fastest")
    birefnet.save(tiny, tmp_path / "General.safetensors")  # a fine-tune under a published checkpoint's name
    assert birefnet.load(tmp_path / "General.safetensors", defaults=catalog).config == tiny.config


def test_a_saved_swin_build_has_the_index_by_which_comfyui_knows_it(tmp_path, caplog):
    birefnet.save(birefnet.BiRefNet(BUILDS["swin"]), tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        index = file.get_tensor("bb.layers.1.blocks.0.attn.relative_position_index")
    assert index.shape == (25, 25) and index[0, 0] == 40 and index[0, 24] == 0 and index[24, 0] == 80
    birefnet.load(tmp_path / "a.safetensors")
    assert not caplog.records


def test_saving_is_whole_or_not_at_all(tmp_path, tiny, monkeypatch):
    path = tmp_path / "a.safetensors"
    birefnet.save(tiny, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(birefnet.checkpoint.tensorfile, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        birefnet.save(tiny, path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"] and path.read_bytes() == before


# Files that are something else
# -------------------------------------------------------------------------------------


class RunsCode:
    def __reduce__(self):
        return os.system, (f"{sys.executable} -c \"open('executed', 'w')\"",)


def truncated_safetensors(state):
    buffer = io.BytesIO()
    header = json.dumps({"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    buffer.write(struct.pack("<Q", len(header)) + header + bytes(100))
    return buffer.getvalue()


def legacy(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def zipped(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("content, sentence", [
    (lambda state: b"", "is empty"),
    (lambda state: b"<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
    (lambda state: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    (lambda state: b"hello, I am a text file", "neither a safetensors nor a PyTorch file"),
    (lambda state: struct.pack("<Q", 1 << 62) + b"{}", "damaged or truncated safetensors"),
    (truncated_safetensors, "damaged or truncated safetensors"),
    (lambda state: zipped(state)[:2000], "damaged or truncated PyTorch"),
    *((lambda state, size=size: legacy(state)[:size], "damaged|more than plain tensors")
      for size in (1, 2, 100, 400, 5000)),
    (lambda state: b"\x80" + bytes(range(255)), "damaged"),
    (lambda state: scripted(), "TorchScript"),
    (lambda state: zipped({"state_dict": RunsCode()}), "could run code"),
    (lambda state: pickle.dumps(RunsCode()), "could run code"),
    (lambda state: zipped([1, 2, 3]), "state dict: .*holds a list"),
    (lambda state: zipped({"epoch": 3}), "no tensors found"),
    (lambda state: zipped({"lora_unet_down.lora_up.weight": torch.zeros(1)}), "seems to be a LoRA"),
    (lambda state: zipped({"stage1.rebnconvin.conv_s1.weight": torch.zeros(1)}), "U²-Net or IS-Net"),
    (lambda state: zipped({"some.weight": torch.zeros(1)}), "its 1 tensors begin with: some.weight"),
    (lambda state: zipped({k: v for k, v in state.items() if "lateral_block3" not in k}),
     "incomplete: detected pvt_v2 8-16-40-64.*lacks decoder.lateral_block3.conv.bias"),
    (lambda state: zipped({k: v for k, v in state.items() if "ipt_blk5" not in k}), "lacks the "
                                                                                    "tensor.*ipt_blk5"),
    (lambda state: zipped({k: v.to(torch.int8) for k, v in state.items()}), "stored as int8"),
    (lambda state: zipped({**state, "decoder.conv_out1.0.weight": torch.zeros(1, 7, 1, 1)}),
     r"expected \[1, 10, 1, 1\]"),
    (lambda state: zipped({**state, "bb.norm1.weight": torch.zeros(())}), "do not fit together"),
    (lambda state: zipped({k.replace("bb.", "bb.model.blocks.0."): v for k, v in state.items()}),
     "^Name this BiRefNet's encoder: .*birefnet.encoder"),
    (lambda state: zipped({k.replace("bb.", "bb.conv1.4.0.conv1."): v for k, v in state.items()}),
     "built on torchvision's ResNet-50"),
    (lambda state: zipped({k.replace("bb.", "bb.conv1.0."): v for k, v in state.items()}),
     "built on torchvision's VGG-16"),
])
def test_a_wrong_file_is_one_clear_sentence(tmp_path, monkeypatch, tiny_state, content, sentence):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.safetensors"
    path.write_bytes(content(tiny_state))
    with pytest.raises(CheckpointError, match=sentence) as error:
        birefnet.load(path)
    assert str(error.value).startswith(f"{error.value.action}: {path}: ") and "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("wrong",
                         [{"normalize": "foo"}, {"size": "abc"}, {"size": (1, 2, 3)}, {"heads": (0, 1, 1, 1)},
                                   {"multi_scale": "foo"}, {"patch_order": "gx"}])
def test_a_wrong_argument_and_wrong_metadata_are_named(tmp_path, tiny_state, wrong):
    key, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"^Set {key} to ") as error:
        birefnet.load(tiny_state, **wrong)
    assert not isinstance(error.value, CheckpointError)
    text = ",".join(map(str, value)) if isinstance(value, tuple) else value
    save_file(tiny_state, tmp_path / "a.safetensors", {f"birefnet.{key}": text})
    with pytest.raises(CheckpointError, match=f"^Correct birefnet.{key} in .*: Set {key} to "):
        birefnet.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("form", ["plain", "inference"])
def test_a_loaded_network_owns_its_weights(tmp_path, tiny_state, form):
    """The file may be overwritten in place, the state dict trained on: a network that is loaded stays as it
    is."""
    x = torch.zeros(1, 3, 64, 64)
    state = {name: tensor.clone() for name, tensor in tiny_state.items()}
    save_file(state, tmp_path / "a.safetensors")
    from_file, from_state = birefnet.load(tmp_path / "a.safetensors",
                                          form=form), birefnet.load(state, form=form)
    with torch.inference_mode():
        expected = from_file(x)
        with (tmp_path / "a.safetensors").open("r+b") as file:
            file.truncate(0)
        for tensor in state.values():
            tensor.zero_()
        assert from_file(x).equal(expected) and from_state(x).equal(expected)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        birefnet.load(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="folder"):
        birefnet.load(tmp_path)


def test_head_counts_that_cannot_be_known_are_asked_for():
    config = Config(**{**TINY.__dict__, "widths": (8, 16, 24, 32), "heads": (1, 2, 3, 4)})
    state = random_state(config)
    with pytest.raises(CheckpointError, match="^Pass heads"):
        birefnet.load(state)
    assert birefnet.load(state, heads=(1, 2, 3, 4)).config.heads == (1, 2, 3, 4)


def test_a_folded_normalisation_is_suspected(tiny_state, caplog):
    """A repackaged file: x → (x − mean)/std inside the first convolution."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    weight = tiny_state["bb.patch_embed1.proj.weight"] / std.view(1, 3, 1, 1)
    bias = tiny_state["bb.patch_embed1.proj.bias"] - (weight * mean.view(1, 3, 1, 1)).sum((1, 2, 3))
    folded = {**tiny_state, "bb.patch_embed1.proj.weight": weight, "bb.patch_embed1.proj.bias": bias}
    with caplog.at_level(logging.WARNING):
        birefnet.load(tiny_state)
        birefnet.load(folded, normalize="none")
        assert not caplog.records
        birefnet.load(folded)
    assert "folded" in caplog.text


PEAK = """
import sys, torch, birefnet

def memory(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

tiny, large, dtype = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3])
birefnet.load(tiny, dtype=dtype)  # what loading itself needs: kernels, their work space
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts anew from here
before = memory("VmRSS")
model = birefnet.load(large, dtype=dtype)
print((memory("VmHWM") - before) / sum(tensor.nbytes for tensor in model.state_dict().values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells and resets the "
                                                                            "peak")
@pytest.mark.parametrize("stored, dtype",
                         [("float32", "float32"), ("float16", "float32"), ("float32", "bfloat16")])
def test_loading_takes_hardly_more_memory_than_the_model(tmp_path, tiny, stored, dtype):
    """Wherever the file's copy or the composed parts' plain ones stayed beside it, the peak would be 1.5 or
    more."""
    build = Config("swin_v1", (128, 256, 512, 1024), (2, 2, 18, 2), (4, 8, 16, 32), window=12)
    birefnet.save(birefnet.BiRefNet(build), tmp_path / "large.safetensors", dtype=getattr(torch, stored))
    birefnet.save(tiny, tmp_path / "tiny.safetensors", dtype=getattr(torch, stored))
    done = subprocess.run([sys.executable, "-c", PEAK, tmp_path / "tiny.safetensors",
                           tmp_path / "large.safetensors",
                           dtype], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert float(done.stdout) < 1.1
