"""One network of twelve colours in the conventions in which networks want their images: tests/fixtures/conventions.

It knows a colour by its distance: 2 c·p − |p|² is largest for the nearest p of the palette. A convolution in front passes the channels and
their negatives on, with some asymmetric noise, so that a confusion of height and width would be seen. Needs onnx, numpy and onnxruntime.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
HEIGHT, WIDTH = 8, 12
OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "conventions"

# Label by label; the tests paint images in these colours.
PALETTE = np.array(
    [[250, 10, 10], [10, 250, 10], [10, 10, 250], [250, 250, 10], [250, 10, 250], [10, 250, 250],
     [250, 250, 250], [10, 10, 10], [130, 130, 130], [130, 10, 10], [10, 130, 10], [10, 10, 130]]
)


def tensors():
    random = np.random.default_rng(7)
    kernel = 0.02 * random.standard_normal((6, 3, 3, 3))
    for c in range(3):
        kernel[c, c, 1, 1] += 1
        kernel[c + 3, c, 1, 1] -= 1
    points = (PALETTE / 255 - MEAN) / STD
    fc = np.concatenate([points, -points], axis=1)
    return {
        "conv.weight": kernel,
        "conv.bias": np.zeros(6),
        "fc.weight": fc,
        "fc.bias": -(points**2).sum(1) / 2,
    }


def write(name, shape, kind, before, change=lambda t: t, constants={}):
    """`before` leads from `input` to `image`, N×3×H×W as the network wants it."""
    layers = [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["conv"], "/conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"], "relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["scores"], "/fc/Gemm", transB=1),
    ]
    weights = {k: v.astype(np.float32) for k, v in change(tensors()).items()} | constants
    graph = helper.make_graph(
        before + layers,
        "colours",
        [helper.make_tensor_value_info("input", kind, ["N", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 12])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, OUT / f"{name}.onnx")
    return onnxruntime.InferenceSession(model.SerializeToString())


def flipped(t):
    return t | {"conv.weight": t["conv.weight"][:, ::-1]}


def main():
    OUT.mkdir(exist_ok=True)
    pixels = np.broadcast_to(PALETTE[:, :, None, None], (12, 3, HEIGHT, WIDTH)).astype(np.float32)
    normal = ((pixels / 255 - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)
    inside = {
        "scale": np.float32(255),
        "mean": MEAN.astype(np.float32)[:, None, None],
        "std": STD.astype(np.float32)[:, None, None],
    }
    normalise = [
        helper.make_node("Div", ["float", "scale"], ["unit"], "unit"),
        helper.make_node("Sub", ["unit", "mean"], ["centred"], "centred"),
        helper.make_node("Div", ["centred", "std"], ["image"], "normalise"),
    ]
    nchw, nhwc = (3, HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)
    direct = [helper.make_node("Identity", ["input"], ["image"], "begin")]
    cast = [helper.make_node("Cast", ["input"], ["float"], "cast", to=TensorProto.FLOAT)]
    moved = lambda a, b: [helper.make_node("Transpose", [a], [b], "channels_first", perm=[0, 3, 1, 2])]
    channels_last = normal.transpose(0, 2, 3, 1)
    cases = [
        ("nchw", nchw, TensorProto.FLOAT, direct, {}, normal),
        ("nhwc", nhwc, TensorProto.FLOAT, moved("input", "image"), {}, channels_last),
        ("bgr", nchw, TensorProto.FLOAT, direct, {"change": flipped}, normal[:, ::-1]),
        ("raw", nchw, TensorProto.FLOAT, [helper.make_node("Identity", ["input"], ["float"], "begin")] + normalise, {"constants": inside}, pixels),
        ("bytes", nchw, TensorProto.UINT8, cast + normalise, {"constants": inside}, pixels.astype(np.uint8)),
        (
            "bytes_nhwc",
            nhwc,
            TensorProto.UINT8,
            [helper.make_node("Cast", ["input"], ["last"], "cast", to=TensorProto.FLOAT)] + moved("last", "float") + normalise,
            {"constants": inside},
            pixels.transpose(0, 2, 3, 1).astype(np.uint8),
        ),
    ]
    reference = None
    for name, shape, kind, before, more, images in cases:
        session = write(name, shape, kind, before, **more)
        (scores,) = session.run(None, {"input": np.ascontiguousarray(images)})
        assert (scores.argmax(1) == np.arange(12)).all(), name
        reference = scores if reference is None else reference
        assert np.abs(scores - reference).max() < 1e-4, name


main()
