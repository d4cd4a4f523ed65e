"""Names that runtimes do not expect: nodes called as values, or as what a runtime would call its own additions to them."""
import itertools
import random

import numpy as np
import onnx
import pytest
from harness import ENTRIES, FIXTURES, spgraph

STEMS = ["conv1", "a", "x", "layer.0", "layer-1", "/conv1", "model/conv1", "weight", "y_1", "bias"]
SUFFIXES = ["", ".bias", ".weight", "-bias", ".scale", ".mean", ".cast", ".0", "_output", "_node", ".k", ".one", "_2", "/bias"]


def renamed(seed):
    """A fixture in which nodes, values and initializers have names of one small set, none of them twice among its own kind."""
    rng = random.Random(seed)
    model = onnx.load(FIXTURES / ENTRIES["basic"]["file"])
    graph = model.graph
    names = [a + b for a, b in itertools.product(STEMS, SUFFIXES)]
    kept = {v.name for v in [*graph.input, *graph.output]}
    values = [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output if o not in kept]
    rng.shuffle(names)
    to = dict(zip(values, names))
    for tensor in graph.initializer:
        tensor.name = to[tensor.name]
    rng.shuffle(names)
    for node, name in zip(graph.node, names):
        node.name = name
        node.input[:] = [to.get(i, i) for i in node.input]
        node.output[:] = [to.get(o, o) for o in node.output]
    if seed == 0:
        # As PyTorch would name them by hand: the layer, and its bias.
        for i, node in enumerate(n for n in graph.node if n.op_type in ("Conv", "Gemm")):
            node.name = f"layer{i}"
            for tensor in graph.initializer:
                if len(node.input) > 2 and tensor.name == node.input[2]:
                    tensor.name = node.input[2] = f"layer{i}.bias"
    del graph.value_info[:]
    return model


@pytest.mark.parametrize("seed", range(6))
def test_both_engines_load_and_agree(seed, tmp_path):
    onnx.save(renamed(seed), tmp_path / "model.onnx")
    spgraph("synth", "--task", "source", "--per-class", "2", "-o", tmp_path / "images")
    spgraph("rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--batch", "2", "--classes", "10", "--batch-norm", "frozen")
    tuned = {}
    for engine in ("ort", "tract"):
        run = tmp_path / engine
        data = ("--data", tmp_path / "images", "--steps", "2", "--workers", "0", "--augment", "none")
        spgraph("finetune", tmp_path / "bundle", *data, "-o", run, "--engine", engine)
        spgraph("export", run, "-o", tmp_path / f"{engine}.onnx")
        tuned[engine] = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / f"{engine}.onnx").graph.initializer}
    for name, tensor in tuned["ort"].items():
        np.testing.assert_allclose(tuned["tract"][name], tensor, rtol=1e-3, atol=1e-4)
