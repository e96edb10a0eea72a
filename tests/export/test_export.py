"""Exported files give our numbers, whatever the family, the size, the batch and the contract."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from exported_builds import BUILDS, FAMILIES, SMALL, Made, loader, onnx

import birefnet
from birefnet.export import write
from birefnet.export.graph import Contract
from birefnet.export.resize import resample
from birefnet.export.verify import open_session
from birefnet.export.write import export_onnx
from birefnet.files.errors import UserError
from birefnet.imaging import resize
from birefnet.matting.predict import network_alpha, normalize

SIZES = ((1, 64, 64), (3, 128, 96), (1, 160, 224))  # batch, height, width


def images(batch: int, height: int, width: int) -> torch.Tensor:
    dice = torch.Generator().manual_seed(height * width)
    coarse = torch.rand(batch, 3, 7, 5, generator=dice)
    return resize.resample(coarse, (height, width)).clamp(0, 1)


@pytest.mark.parametrize(("build", "portable"), [
    *((build, True) for build in FAMILIES), ("swin_v1", False), ("pvt_v2", False),
], ids=lambda value: {True: "portable", False: "native"}.get(value, value))
def test_one_file_takes_any_size_and_batch(export, build, portable):
    made = export(build, portable=portable)
    network = made.load()
    for shape in SIZES:
        x = images(*shape)
        expected = network_alpha(network, normalize(x, network.config)).numpy()
        assert expected.std() > 0.01  # a picture, not a flat field
        np.testing.assert_allclose(made.run(x), expected, atol=2e-5)


@pytest.mark.parametrize("build", FAMILIES)
def test_a_portable_file_has_standard_operators_of_five_dimensions_at_most(export, build):
    graph = export(build, portable=True).graph()
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]
    assert "DeformConv" not in {node.op_type for node in graph.graph.node}
    written = [output for node in graph.graph.node for output in node.output if output != "alpha"]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in written)
    session = open_session(graph.SerializeToString())
    assert max(values.ndim for values in session.run(written, {"image": images(1, 64, 96).numpy()})) <= 5


def test_a_native_file_has_the_deformable_operator(export):
    graph = export("pvt_v2").graph()
    assert graph.opset_import[0].version == 19
    assert sum(node.op_type == "DeformConv" for node in graph.graph.node) == 10  # two in each of five blocks
    names = {tensor.name for tensor in graph.graph.initializer}
    assert not any("conv_ms_spvn" in name or "gdt_convs_pred" in name for name in names)


def test_a_raw_file_is_the_network_alone(export):
    made = export(SMALL, raw=True)
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = made.load()(x).numpy()
    graph = made.graph().graph
    assert [graph.input[0].name, graph.output[0].name] == ["input_image", "output_image"]
    assert expected.min() < 0
    np.testing.assert_allclose(made.run(x), expected, atol=1e-4)


def test_a_size_fixes_the_file(export):
    made = export(SMALL, size=(64, 96))
    value = made.graph().graph.input[0]
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [1, 3, 64, 96]
    network = made.load()
    x = images(1, 64, 96)
    expected = network_alpha(network, normalize(x, network.config)).numpy()
    np.testing.assert_allclose(made.run(x), expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 77, 200), (2, 300, 131)])
def test_any_size_resizes_inside(export, shape):
    made = export(SMALL, any_size=True)
    x = images(*shape)
    expected = birefnet.matte(made.load(), x.permute(0, 2, 3, 1)).numpy()
    np.testing.assert_allclose(made.run(x)[:, 0], expected, atol=2e-5)


@pytest.mark.parametrize("size", [(40, 33), (90, 260), (64, 100)])
def test_resizing_by_products_is_the_antialiased_one(size):
    x = torch.rand(1, 2, 64, 100, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resample(x, size), resize.resample(x, size), atol=1e-5, rtol=0)


def test_tiles_stacked_colour_fastest(export):
    made = export(SMALL, patch_order="colour-fastest")
    network, slowest = made.load(), export(SMALL)
    x = images(1, 64, 96)
    expected = network_alpha(network, normalize(x, network.config)).numpy()
    np.testing.assert_allclose(made.run(x), expected, atol=2e-5)
    assert np.abs(slowest.run(x) - expected).max() > 1e-3  # the order matters


def test_half_precision_inside_float32_at_both_ends(export):
    made, whole = export("pvt_v2", "fp16"), export("pvt_v2")
    graph = made.graph().graph
    ends = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert ends == {onnx.TensorProto.FLOAT}
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    offsets = [kind for name, kind in kinds.items() if "offset_conv" in name]
    assert offsets and set(offsets) == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.FLOAT16 in kinds.values()
    halved = {node.output[0] for node in graph.node if node.name.endswith("_cast_to_fp16_node")}
    assert halved and not [node.name for node in graph.node if node.input and node.input[0] in halved
                           and node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT]
    assert made.exported.bytes < 0.75 * whole.exported.bytes  # of so few weights half are the float32 part
    assert any("slower" in line for line in made.lines)
    x = images(1, 96, 128)
    assert 0 < np.abs(made.run(x) - whole.run(x)).max() < 0.02


def test_int8_weights(export):
    made, whole = export("pvt_v2", "int8", portable=True), export("pvt_v2", portable=True)
    kinds = [tensor.data_type for tensor in made.graph().graph.initializer]
    assert onnx.TensorProto.INT8 in kinds
    assert made.exported.float32_bytes == whole.exported.bytes
    assert made.exported.bytes < 0.75 * whole.exported.bytes  # what is small stays float32
    x = images(1, 96, 128)
    assert 0 < np.abs(made.run(x) - whole.run(x)).max() < 0.05


def test_the_description_says_what_a_user_needs(export):
    made = export(SMALL)
    told = json.loads(made.exported.sidecar.read_text())
    assert made.exported.sidecar.name == "network.json"
    assert told["input"]["name"] == "image" and told["size"] == {"height": 96, "width": 128}
    assert told["normalisation"]["inside"] and told["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert told["source"]["licence"] == "MIT" and set(told["versions"]) == {"torch", "onnx", "onnxruntime"}
    assert [check["batch"] for check in told["verified"]] == [1, 3]
    assert all(check["largest"] <= 1e-4 for check in told["verified"])


def test_adapters_are_merged(tmp_path):
    plain = loader(SMALL)()
    change = {"decoder.conv_out1.0.bias.diff": torch.full((1,), 0.5)}
    adapter = birefnet.Adapter(change, {"birefnet.adapter": "head"})
    load = loader(SMALL, adapters=[(adapter, 2.0)])
    contract = Contract(size=(64, 64), raw=True, portable=True)
    exported = export_onnx(load, tmp_path / "a.onnx", contract)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = plain(x).numpy() + 1.0
    np.testing.assert_allclose(Made(exported, [], load, contract).run(x), expected, atol=1e-4)


def test_a_file_that_strays_is_not_kept_and_the_layer_is_named(tmp_path, monkeypatch):
    finish = write.finish

    def spoiled(*arguments):
        graph = finish(*arguments)
        [tensor] = [tensor for tensor in graph.graph.initializer
                    if tensor.name.endswith("decoder.lateral_block2.conv.bias")]
        values = onnx.numpy_helper.to_array(tensor) + 50
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return graph

    monkeypatch.setattr(write, "finish", spoiled)
    with pytest.raises(UserError, match=r"not kept, .* fp32 may by 0.0001 .* decoder.lateral_block2.conv "):
        export_onnx(loader("pvt_v2"), tmp_path / "a.onnx", Contract(size=(64, 96), portable=True))
    assert list(tmp_path.iterdir()) == []


def test_packages_too_old_or_missing_are_told(monkeypatch):
    monkeypatch.setattr("onnxruntime.__version__", "1.24.9")
    with pytest.raises(UserError, match=r"^Update onnxruntime \(.*\): 1.24.9 is too old"):
        write.require_packages(Contract())
    write.require_packages(Contract(portable=True))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install -r requirements-export.txt"):
        write.require_packages(Contract(portable=True))


@pytest.mark.parametrize(("contract", "message"), [
    (Contract(size=(100, 64)), "multiples of 32, from 64 up, such as 64x96; got 64x100"),
    (Contract(raw=True, any_size=True), "--raw or --any-size"),
])
def test_contracts_that_cannot_be(contract, message):
    with pytest.raises(UserError, match=message):
        write.complete_contract(contract, BUILDS[SMALL])


def test_any_size_of_a_checkpoint_without_a_size_needs_one():
    with pytest.raises(UserError, match="^Choose a size"):
        write.complete_contract(Contract(any_size=True), loader(SMALL, size="dynamic")().config)
