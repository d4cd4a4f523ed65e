"""The graph of `spgraph fisher`: standard, checked, and enough for another runtime to make the estimate by itself."""
import numpy as np
import onnx
import pytest
from harness import Graph, spgraph
from safetensors import safe_open
from test_checker import demand_standard


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fisher")
    spgraph("new", "resnet20", "--classes", 5, "--input", "3x16x16", "-o", folder / "model.onnx")
    spgraph("synth", "--task", "target-b", "--per-class", 2, "--size", 16, "-o", folder / "images")
    return folder


@pytest.mark.parametrize("mode", ["exact", "sampled", "empirical"])
def test_the_graph_is_standard(work, mode):
    graph = work / f"{mode}.onnx"
    options = ("--mode", mode, "--pairs", 10, "--graph", graph)
    spgraph("fisher", work / "model.onnx", "--data", work / "images", "-o", work / f"{mode}.safetensors", *options)
    onnx.checker.check_model(str(graph), full_check=True)
    model = onnx.load(graph)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    demand_standard(model, {"dialect": ("--dialect", "functions")})


def test_another_runtime_can_imitate_the_loop(work):
    """One call on two images that count and none that doesn't: float64 sums of what the graph gives, over m."""
    output, path = work / "two.safetensors", work / "two.onnx"
    spgraph("fisher", work / "model.onnx", "--data", work / "images", "-o", output, "--mode", "exact", "--pairs", 10, "--graph", path)
    graph = Graph(path)
    images = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    classes = np.arange(5)

    def run(images, valid, classes):
        return graph({"input": images, "valid": np.array(valid, np.float32), "classes": classes})

    both = run(images, [1, 1], classes)
    first, second = run(images, [1, 0], classes), run(images, [0, 1], classes)
    parts = [run(images, [1, 1], np.where(classes == k, classes, -1)) for k in range(5)]
    with safe_open(output, "np") as file:
        assert {f"{n}.fisher" for n in file.keys()} | {"traces"} == set(graph.outputs)
    for name, value in both.items():
        # A row that does not count adds nothing; the class -1 is none.
        np.testing.assert_allclose(first[name] + second[name], value, rtol=2e-4, atol=1e-6 * value.max())
        np.testing.assert_allclose(sum(p[name] for p in parts), value, rtol=2e-4, atol=1e-6 * value.max())
    assert np.all(first["traces"][:, 1] == 0) and np.all(second["traces"][:, 0] == 0)
