"""Exports a module to ONNX and rewrites the file into the shapes that other tools and older exporters leave.

`export` is PyTorch's exporter; every function after it takes a ModelProto and returns it changed.
"""
import pathlib
import tempfile
import warnings

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

PRESERVE = torch.onnx.TrainingMode.PRESERVE


def export(module, shape, opset, live=False, dynamo=False, symbolic=False, dtype=torch.float32, optimise=True, inputs=False, one_image=False):
    """The module as a ModelProto. `live` keeps BatchNormalization;
    `inputs` repeats initializers as graph inputs; `optimise` is the dynamo exporter's own optimiser; `one_image` exports with a batch of 1, as
    PyTorch's documentation does: the dynamo exporter then writes the 1 into every shape."""
    module, x = module.to(dtype), torch.randn((1, *shape[1:]) if one_image else shape, dtype=dtype)
    options = dict(opset_version=opset, input_names=["input"], output_names=["logits"], dynamo=dynamo)
    if dynamo:
        options.update(optimize=optimise, external_data=False, verbose=False)
        if symbolic:
            options["dynamic_shapes"] = ({0: torch.export.Dim("batch", min=2, max=4096)},)
    else:
        options["keep_initializers_as_inputs"] = inputs
        if live:
            options.update(training=PRESERVE, do_constant_folding=False)
        if symbolic:
            options["dynamic_axes"] = {"input": {0: "batch"}, "logits": {0: "batch"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = pathlib.Path(folder, "model.onnx")
        torch.onnx.export(module, (x,), path, **options)
        model = onnx.load(path)
    forget_machine(model)
    return model


def forget_machine(model):
    """Drops stack traces and the like, which hold paths of the machine that made the file."""
    del model.metadata_props[:], model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.ClearField("doc_string")
        del tensor.metadata_props[:]


def ir_version(model, version):
    model.ir_version = version
    return model


def constants(model):
    """Weights in Constant nodes instead of initializers."""
    nodes = [helper.make_node("Constant", [], [t.name], name=f"constant.{t.name}", value=t) for t in model.graph.initializer]
    nodes += list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def fuse_pads(model):
    """Moves Pad nodes into the `pads` of the convolution that follows."""
    graph = model.graph
    shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    pads = {n.output[0]: n for n in graph.node if n.op_type == "Pad"}
    for conv in (n for n in graph.node if n.op_type == "Conv" and n.input[0] in pads):
        node = pads[conv.input[0]]
        extra = evaluate(model, node.input[1], shape).reshape(2, 4)[:, 2:].reshape(-1)
        conv.input[0] = node.input[0]
        attribute = next(a for a in conv.attribute if a.name == "pads")
        attribute.ints[:] = [int(a + b) for a, b in zip(attribute.ints, extra)]
    for node in pads.values():
        graph.node.remove(node)
    return drop_unused(model)


def evaluate(model, value, shape):
    """A value inside the graph; the exporter computes even constant pads by a chain of nodes."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.append(helper.make_value_info(value, onnx.TypeProto()))
    return ReferenceEvaluator(whole).run([value], {"input": np.zeros(shape, np.float32)})[0]


def auto_pads(model):
    """Says `pads` by `auto_pad`, as converters from TensorFlow do: SAME_LOWER, SAME_UPPER or VALID."""
    for conv in (n for n in model.graph.node if n.op_type == "Conv"):
        attribute = next(a for a in conv.attribute if a.name == "pads")
        pads = list(attribute.ints)
        same = "SAME_LOWER" if pads[0] > pads[2] else "SAME_UPPER"
        conv.attribute.remove(attribute)
        conv.attribute.append(helper.make_attribute("auto_pad", same if any(pads) else "VALID"))
    return model


def drop_unused(model):
    """Removes nodes whose outputs nobody reads."""
    graph = model.graph
    while True:
        read = {i for n in graph.node for i in n.input} | {o.name for o in graph.output}
        dead = [n for n in graph.node if not any(o in read for o in n.output)]
        if not dead:
            return model
        for node in dead:
            graph.node.remove(node)


def share(model):
    """Lets several nodes read one initializer directly, as deduplicating optimisers do: Identity nodes go."""
    graph = model.graph
    source = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Identity"}
    for node in [n for n in graph.node if n.op_type == "Identity"]:
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [source.get(i, i) for i in node.input]
    return model


def dropout(model):
    """Puts a Dropout (identity at inference) before every Gemm, as Caffe's exporters do."""
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Gemm":
            kept = f"{node.input[0]}.kept"
            ratio = numpy_helper.from_array(np.array(0.5, np.float32), f"{kept}.ratio")
            model.graph.initializer.append(ratio)
            nodes.append(helper.make_node("Dropout", [node.input[0], ratio.name], [kept], name=f"{node.name}/Dropout"))
            node.input[0] = kept
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def anonymous(model):
    """Nodes without names, which the standard allows."""
    for node in model.graph.node:
        node.ClearField("name")
    return model


def typed_data(model):
    """Weights in `float_data` instead of `raw_data`."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).reshape(-1).tolist()
            tensor.ClearField("raw_data")
            tensor.float_data.extend(values)
    return model


def skeleton(model):
    """The graph without the weights: floating-point initializers keep name, type and dims, and lose their data."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    return model
