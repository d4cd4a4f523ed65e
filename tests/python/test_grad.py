"""`spgraph grad`: vector-Jacobian products against PyTorch's and against finite differences, and what is made of them in examples/python."""
import subprocess
import sys

import numpy as np
import onnx
import pytest
from harness import ENTRIES, FIXTURES, ROOT, TOLERANCE, Graph, part, read_tensors, relative_error, spgraph

NAMES = sorted(p.name.removesuffix(".safetensors") for p in (FIXTURES / "vector_jacobian").iterdir())


def source(name):
    path = FIXTURES / ENTRIES[name]["file"]
    return path, [o.name for o in onnx.load(path).graph.output][0]


def gradients(path, out, *options, double=False):
    spgraph("grad", path, "-o", out, *options)
    onnx.checker.check_model(onnx.load(out), full_check=True)
    return Graph(out, double)


@pytest.mark.parametrize("dialect", ["inlined", "functions"])
@pytest.mark.parametrize("name", NAMES)
def test_products_are_pytorchs(tmp_path, name, dialect):
    path, output = source(name)
    golden, double = read_tensors(f"vector_jacobian/{name}.safetensors"), ENTRIES[name]["dtype"] == "float64"
    graph = gradients(path, tmp_path / "grad.onnx", "--wrt", "input", "--wrt", "params", "--of", output, "--dialect", dialect, double=double)
    image, cotangent = graph.inputs
    assert cotangent == f"{output}.cotangent"
    found = graph({image: golden["images"], cotangent: golden["cotangent"]})
    assert relative_error(found[output], golden["output"]) < TOLERANCE
    assert relative_error(found[f"{image}.grad"], golden["input"]) < TOLERANCE
    expected = part(golden, "parameter")
    assert {n.removesuffix(".grad") for n in graph.outputs[2:]} <= expected.keys() and len(graph.outputs) > 4
    for n in graph.outputs[2:]:
        assert relative_error(found[n], expected[n.removesuffix(".grad")]) < TOLERANCE, n


@pytest.mark.parametrize("dialect", ["inlined", "functions"])
@pytest.mark.parametrize("output", ["pair.distance", "pair.scores", "tokens.mark", "tokens.kind"])
def test_networks_with_several_inputs_and_outputs(tmp_path, output, dialect):
    """Pairs of images with numbers beside them, and vectors of words with whole numbers that mask them: for every input that has a gradient, and every parameter that the output depends on."""
    name, output = output.split(".")
    golden = read_tensors(f"several_inputs/{name}.safetensors")
    inputs, expected = part(golden, "input"), part(golden, output)
    path = FIXTURES / "several_inputs" / f"{name}.onnx"
    graph = gradients(path, tmp_path / "grad.onnx", "--wrt", "input", "--wrt", "params", "--of", output, "--dialect", dialect)
    assert set(graph.inputs) == {*inputs, f"{output}.cotangent"}
    found = graph(inputs | {f"{output}.cotangent": golden[f"cotangent/{output}"]})
    assert relative_error(found.pop(output), golden[f"output/{output}"]) < TOLERANCE
    assert {n.removesuffix(".grad") for n in found} == expected.keys()
    for n, value in found.items():
        assert relative_error(value, expected[n.removesuffix(".grad")]) < TOLERANCE, n


def test_one_of_several_inputs(tmp_path):
    path, golden = FIXTURES / "several_inputs" / "pair.onnx", read_tensors("several_inputs/pair.safetensors")
    graph = gradients(path, tmp_path / "grad.onnx", "--wrt", "input:right", "--of", "scores", "--batch", "2")
    assert graph.outputs == ["scores", "right.grad"] and graph.runner.get_inputs()[0].shape == [2, 3, 6, 6]
    found = graph(part(golden, "input") | {"scores.cotangent": golden["cotangent/scores"]})
    assert relative_error(found["right.grad"], golden["scores/right"]) < TOLERANCE
    words = FIXTURES / "several_inputs" / "tokens.onnx"
    for model, wrt, said in ((words, "input:mask", "no gradient"), (words, "input:word", "no input `word`"), (path, "input:left", "distance, scores")):
        with pytest.raises(AssertionError, match=said):
            spgraph("grad", model, "-o", tmp_path / "no.onnx", "--wrt", wrt, "--of", "distanc" if model == path else "mark")
    assert not (tmp_path / "no.onnx").exists()


def test_a_product_is_a_slope(tmp_path):
    """In float64: along a random direction of the images, against central differences of the source itself."""
    path, output = source("float64.bn")
    random = np.random.default_rng(0)
    graph = gradients(path, tmp_path / "grad.onnx", "--wrt", "input", "--of", output, double=True)
    network, golden = Graph(path, double=True), read_tensors("vector_jacobian/float64.bn.safetensors")
    image, cotangent = graph.inputs
    product = graph({image: golden["images"], cotangent: golden["cotangent"]})[f"{image}.grad"]
    for _ in range(3):
        direction, h = random.standard_normal(product.shape), 1e-6
        ahead, behind = (network({image: golden["images"] + sign * h * direction})[output] for sign in (1, -1))
        slope = ((ahead - behind) * golden["cotangent"]).sum() / (2 * h)
        assert abs(slope / (product * direction).sum() - 1) < 1e-5


def test_a_scalar_needs_no_cotangent(tmp_path):
    path, output = source("basic.bn")
    golden = read_tensors("vector_jacobian/basic.bn.safetensors")
    weighed = gradients(path, tmp_path / "a.onnx", "--wrt", "params:0.*", "--of", output)
    summed = gradients(path, tmp_path / "b.onnx", "--wrt", "params:0.*", "--of", f"{output},scalar")
    assert len(summed.inputs) == 1 and summed.outputs == weighed.outputs
    image = summed.inputs[0]
    ones = np.ones_like(golden["output"])
    found, expected = summed({image: golden["images"]}), weighed({image: golden["images"], f"{output}.cotangent": ones})
    assert all(n.startswith("0.") for n in summed.outputs[1:])
    for n in found:
        assert relative_error(found[n], expected[n]) < 1e-6, n


@pytest.mark.parametrize(
    "options, word",
    [
        (["--wrt", "inputs", "--of", "x"], "neither `input` nor"),
        (["--wrt", "input", "--of", "nothing"], "must name an output"),
        (["--wrt", "params:nothing*", "--of", "OUTPUT"], "matches no parameter"),
        (["--wrt", "input", "--of", ",scalar"], "needs the name of an output"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, options, word):
    path, output = source("basic.bn")
    with pytest.raises(AssertionError, match=word):
        spgraph("grad", path, "-o", tmp_path / "no.onnx", *[output if o == "OUTPUT" else o for o in options])
    assert not (tmp_path / "no.onnx").exists()


def example(name, *arguments):
    done = subprocess.run([sys.executable, ROOT / "examples" / "python" / name, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples(tmp_path):
    """The most salient pixels matter more than the least, and a small change along the gradient's signs makes the network less sure."""
    model = ROOT / "models" / "resnet20-source.onnx"
    output = onnx.load(model).graph.output[0].name
    gradients(model, tmp_path / "grad.onnx", "--wrt", "input", "--of", output)
    image = np.random.default_rng(3).standard_normal((1, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    example("saliency.py", tmp_path / "grad.onnx", tmp_path / "image.npy", "-o", tmp_path / "map.pgm")
    header, size, top, pixels = (tmp_path / "map.pgm").read_bytes().split(b"\n", 3)
    assert (header, size, top, len(pixels)) == (b"P5", b"32 32", b"255", 32 * 32)
    network = Graph(model)
    (name,) = network.inputs
    scores = network({name: image})[output]
    label, order = scores.argmax(), np.argsort(np.frombuffer(pixels, np.uint8), kind="stable")

    def without(chosen):
        changed = image.copy().reshape(3, -1)
        changed[:, chosen] = 0
        return abs(network({name: changed.reshape(image.shape)})[output] - scores)[0, label]

    assert without(order[-100:]) > 2 * without(order[:100])
    said = example("adversarial.py", tmp_path / "grad.onnx", tmp_path / "image.npy", "--epsilon", 0.05, "-o", tmp_path / "changed.npy")
    changed = np.load(tmp_path / "changed.npy")
    assert np.abs(changed - image).max() < 0.0501

    def share(x):
        e = np.exp(network({name: x})[output][0])
        return e[label] / e.sum()

    assert share(changed) < share(image) - 0.1, (said, share(changed), share(image))
