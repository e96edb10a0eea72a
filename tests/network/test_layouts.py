"""The layout of Hugging Face's Swin holds the same network: there and back it gives the authors' numbers."""

import re

import pytest
import torch
from golden_cases import CASES
from test_checkpoint import BUILDS
from tiny_build import random_state

import birefnet
from birefnet.checkpoint.layouts import authors_name

CASE = next(case for case in CASES if case.name == "swin_v1_t_1x256x256_s0")
RENAMES = [
    (r"^bb\.patch_embed\.proj\.", r"bb.swin.embeddings.patch_embeddings.projection."),
    (r"^bb\.patch_embed\.norm\.", r"bb.swin.embeddings.norm."),
    (r"^bb\.norm(\d)\.", lambda found: f"bb.hidden_states_norms.stage{int(found[1]) + 1}."),
    (r"^bb\.layers\.", r"bb.swin.encoder.layers."),
    (r"\.attn\.relative_position_bias_table$",
     r".attention.relative_position_bias.relative_position_bias_table"),
    (r"\.attn\.proj\.", r".attention.o_proj."),
    (r"(\.blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(\.blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"^decoder\.ipt_blk(\d)\.", lambda found: f"decoder.ipt_blks.{5 - int(found[1])}."),
    (r"^decoder\.(decoder_block|lateral_block)(\d)\.",
     lambda found: f"decoder.{found[1]}s.{4 - int(found[2])}."),
    (r"^decoder\.(conv_ms_spvn|gdt_convs|gdt_convs_pred|gdt_convs_attn)_(\d)\.",
     lambda found: f"decoder.{found[1]}.{4 - int(found[2])}."),
]


def hugging_face(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors as Hugging Face's layout holds them."""
    renamed = {}
    for name, tensor in state.items():
        if qkv := re.match(r"(bb\.)(layers\.\d+\.blocks\.\d+)\.attn\.qkv\.(weight|bias)$", name):
            for part, values in zip("qkv", tensor.chunk(3)):
                renamed[f"bb.swin.encoder.{qkv[2]}.attention.{part}_proj.{qkv[3]}"] = values
            continue
        for pattern, other in RENAMES:
            name = re.sub(pattern, other, name)
        renamed[name] = tensor
    return renamed


def test_a_reference_case_gives_its_numbers():
    state = CASE.state_dict()
    model = birefnet.load(hugging_face(state))
    assert model.config == birefnet.load(state, form="plain").config
    with torch.inference_mode():
        assert (model(CASE.image()) - CASE.reference()["logits"]).abs().max() < 5e-6


def test_a_file_is_read_in_any_storage_and_with_wrappers(tmp_path):
    from safetensors.torch import save_file

    state = random_state(BUILDS["swin"])
    dressed = {f"model.{name}": tensor.half().contiguous() for name, tensor in hugging_face(state).items()}
    save_file(dressed, tmp_path / "a.safetensors")
    halves = {name: tensor.half() for name, tensor in state.items()}
    expected = birefnet.load(halves, form="plain").state_dict()
    found = birefnet.load(tmp_path / "a.safetensors", form="plain").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_the_authors_names_stay_as_they_are():
    assert all(authors_name(name) == name for case in CASES for name in case.manifest)


def test_an_incomplete_file_is_one_clear_sentence():
    state = hugging_face(random_state(BUILDS["swin"]))
    del state["bb.swin.encoder.layers.0.blocks.0.attention.k_proj.weight"]
    with pytest.raises(birefnet.CheckpointError, match="attn.qkv.weight"):
        birefnet.load(state)
