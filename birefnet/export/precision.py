"""Convert an exported graph to a smaller number format: float16 arithmetic, or int8 weights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

# Operators that stay float32 in a float16 file: sums over many channels, and sampling positions, as
# float16 has steps of half a pixel and more from 512 on.
FLOAT32_OPERATORS = ("LayerNormalization", "DeformConv", "GridSample", "Range")
# Nodes that stay float32, too: convolutions for offsets and modulation, and the end (logits, sigmoid).
FLOAT32_NODES = re.compile(r"/(offset_conv|modulator_conv)/|^/network/decoder/(Conv|Add|Resize)[^/]*$"
                           r"|^/[^/]*$")
# Name of the Cast that onnxruntime's converter adds after a node that stays float32.
FLOAT16_CAST = re.compile(r"_cast_to_fp16_node$")
# Weights that stay float32 in an int8 file: few, and they need the precision.
FLOAT32_WEIGHTS = re.compile(r"offset_conv|modulator_conv")
# Elements. Smaller weights stay float32 in an int8 file: they save little, and the first layers, which are
# small, have the largest effect on errors (included checkpoint: 0.03 and 8.0 MB; with 1024, 0.12 and 7.0 MB).
LEAST_WEIGHTS = 16384


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a graph to float16, with float32 input and output, by onnxruntime's converter."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [node.name for node in model.graph.node if FLOAT32_NODES.search(node.name)]
    return remove_cast_pairs(convert_float_to_float16(
        model, keep_io_types=True, node_block_list=kept,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FLOAT32_OPERATORS]))


def remove_cast_pairs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the converter's casts to float16 and back between two float32 nodes, and between one and the
    output, which would lose the precision that these nodes are kept for. In place; returns the graph."""
    from onnx import TensorProto

    graph = model.graph
    to_half: dict[str, str] = {}  # half → the float32 tensor that it was made from
    for node in graph.node:
        if FLOAT16_CAST.search(node.name) and node.attribute[0].i == TensorProto.FLOAT16:
            to_half[node.output[0]] = node.input[0]
    whole = {node.output[0]: to_half[node.input[0]] for node in graph.node
             if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT
             and node.input[0] in to_half}
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = whole.get(name, name)
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        if outputs & whole.keys() & set(node.output):
            node.op_type, node.input[0] = "Identity", whole[node.output[0]]
            del node.attribute[:]
    used = {name for node in graph.node for name in node.input} | outputs
    nodes = [node for node in graph.node if node.op_type != "Cast" or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def to_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights of convolutions and matrix products as int8, with one scale per output channel, by
    onnxruntime's quantiser. The graph still computes in float32. In place; returns the graph."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization.quant_utils import quantize_onnx_initializer

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    done: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        axis = {"Conv": 0, "MatMul": 1}.get(node.op_type)
        name = node.input[1] if axis is not None else ""
        tensor = stored.get(name)
        large = tensor is not None and np.prod(tensor.dims) >= LEAST_WEIGHTS
        if large and not FLOAT32_WEIGHTS.search(node.name):
            if name not in done:
                weight = numpy_helper.to_array(tensor)
                others = tuple(i for i in range(weight.ndim) if i != axis)
                scale = np.maximum(np.abs(weight).max(others) / 127, np.finfo(np.float32).tiny)
                zero = np.zeros(len(scale), np.int8)
                small = quantize_onnx_initializer(tensor, TensorProto.INT8, zero, scale, axis)
                graph.initializer.extend([small, numpy_helper.from_array(scale, f"{name}_scale")])
                done[name] = f"{name}_float"
                nodes.append(helper.make_node("DequantizeLinear", [small.name, f"{name}_scale"], [done[name]],
                                              name=f"{node.name}_weight", axis=axis))
            node.input[1] = done[name]
        nodes.append(node)
    for name in done:
        if not any(name in node.input for node in nodes):
            graph.initializer.remove(stored[name])
    del graph.node[:]
    graph.node.extend(nodes)
    return model
