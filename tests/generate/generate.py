"""Makes tests/fixtures: networks, golden values, index.json, and skeletons of torchvision's ResNets.

    python generate.py [NAME…]       all fixtures, or those named (index.json keeps the others); `skeletons` for these alone

See README.md for the environment. Everything is seeded; a run refuses fixtures that could not show an error: gradients
that vanish, float32 that is far from float64, an evaluation that disagrees with ONNX Runtime or with the module itself.
"""
import hashlib
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision
from onnx.reference import ReferenceEvaluator
from safetensors.torch import save_file

import golden
import networks
import onnx_torch
import variants

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
MARGIN = 5e-6
SILENT = 1e-5  # errors of float32 below this are not written down
DEEP = {"resnet18", "resnet50", "resnet101"}


class Fixture:
    """One file: a network, how it is exported, what is done to the file after that, and why it is here."""

    def __init__(self, name, network, opset, note, change=lambda m: m, default_init=False, external=False, computed=False, **export):
        self.name, self.network, self.opset, self.note, self.change = name, network, opset, note, change
        self.default_init, self.external, self.computed, self.export = default_init, external, computed, export


def then(*changes):
    def change(model):
        for step, *arguments in changes:
            model = step(model, *arguments)
        return model

    return change


V = variants
LIST = [
    Fixture("basic.bn", "basic", 17, "basic blocks, stride 2, projection shortcut; live BatchNorm", live=True),
    Fixture("basic", "basic", 17, "the same with BatchNorm folded"),
    Fixture("bottleneck.bn", "bottleneck", 13, "bottleneck blocks; live BatchNorm; opset 13", live=True),
    Fixture("bottleneck", "bottleneck", 18, "bottleneck blocks, folded; opset 18; IR 9", then((V.ir_version, 9))),
    Fixture("grouped", "grouped", 11, "ResNeXt's grouped convolutions, stride 2; opset 11; IR 5", then((V.ir_version, 5))),
    Fixture("grouped.bn", "grouped", 20, "the same with live BatchNorm; opset 20; IR 11", then((V.ir_version, 11)), live=True),
    Fixture("dilated.bn", "dilated", 20, "dilated kernels, uneven kernel, stride and dilation; live BatchNorm", live=True),
    Fixture("pad_node.bn", "padded", 17, "Pad nodes before convolutions of stride 2", live=True),
    Fixture("asymmetric.bn", "padded", 17, "asymmetric pads in the convolution itself", V.fuse_pads, live=True),
    Fixture("auto_pad.bn", "padded", 13, "auto_pad SAME_UPPER and SAME_LOWER", then((V.fuse_pads,), (V.auto_pads,)), live=True),
    Fixture("mobilenet.bn", "mobilenet", 17, "MobileNetV3: depthwise, HardSwish, HardSigmoid, squeeze and excite; live BatchNorm", live=True),
    Fixture("mobilenet.opset11", "mobilenet", 11, "the same folded; hard activations from smaller operators; opset 11"),
    Fixture("mobilenet.dynamo", "mobilenet", 18, "the same through the dynamo exporter; symbolic batch", dynamo=True, symbolic=True),
    Fixture("silu.bn", "silu", 13, "EfficientNet: SiLU, sigmoid gate, ReduceMean with an attribute for axes", live=True),
    Fixture("silu.opset18", "silu", 18, "the same folded; ReduceMean with an input for axes"),
    Fixture("pool_ceil", "pool_ceil", 17, "overlapping MaxPool with ceil_mode, uneven kernels, pads and dilation"),
    Fixture("average_pool", "average_pool", 17, "AveragePool with count_include_pad 1 and 0, overlapping"),
    Fixture("inception.bn", "inception", 17, "concatenated branches, kernels 1x5 and 5x1; live BatchNorm", live=True),
    Fixture("inception.dynamo", "inception", 20, "the same through the dynamo exporter; opset 20", dynamo=True),
    Fixture("dense", "dense", 17, "DenseNet: Concat fan-out; BatchNorm that cannot be folded"),
    Fixture("shuffle.bn", "shuffle", 17, "ShuffleNet: Split, channel shuffle by Reshape and Transpose; live BatchNorm", live=True),
    Fixture("shuffle.symbolic", "shuffle", 13, "the same folded with a symbolic batch: shapes are computed in the graph", symbolic=True),
    Fixture("slices.bn", "slices", 17, "Slice of channels and pixels, strided; uneven Split", live=True),
    Fixture("slices.opset11", "slices", 11, "the same folded; Split with an attribute; opset 11"),
    Fixture("tokens", "tokens", 17, "linear layers on three axes: MatMul and Add"),
    Fixture("conv_head", "conv_head", 17, "the classifier is a 1x1 convolution; nodes without names", V.anonymous),
    Fixture("preactivation", "preactivation", 17, "pre-activation ResNet: BatchNorm stays live although the export folds"),
    Fixture("leaky.bn", "leaky", 17, "LeakyRelu; live BatchNorm", live=True),
    Fixture("relu6.bn", "relu6", 17, "MobileNetV2: Clip, linear bottleneck, depthwise; live BatchNorm", live=True),
    Fixture("vgg", "vgg", 17, "biased convolutions, pooling, Flatten, two Gemm layers; weights in float_data", V.typed_data),
    Fixture("dropout", "vgg", 13, "the same with Dropout nodes as old exporters leave them", V.dropout),
    Fixture("view_chain", "view_chain", 11, "view(x.size(0), -1): Shape, Gather, Unsqueeze, Concat, Reshape; symbolic batch", symbolic=True),
    Fixture("view_chain.bn", "view_chain", 17, "the same with live BatchNorm", symbolic=True, live=True),
    Fixture("odd.bn", "odd", 17, "7x7 stem, odd sizes down to one pixel; live BatchNorm", live=True),
    Fixture("kinks", "kinks", 17, "whole numbers: exact zeros at ReLU and LeakyRelu, ties in MaxPool"),
    Fixture("constants", "basic", 13, "weights in Constant nodes", V.constants),
    Fixture("inputs", "basic", 11, "initializers repeated as graph inputs; IR 3", then((V.ir_version, 3)), inputs=True),
    Fixture("external", "basic", 17, "weights in an external data file", external=True),
    Fixture("float64.bn", "basic", 17, "float64 throughout; live BatchNorm", live=True, dtype=torch.float64),
    Fixture("identity.bn", "basic", 17, "untrained network: equal initializers behind Identity nodes", default_init=True, live=True),
    Fixture("shared.bn", "basic", 17, "untrained network: several nodes read one initializer", V.share, default_init=True, live=True),
    Fixture("bottleneck.dynamo", "bottleneck", 20, "the dynamo exporter folds BatchNorm; opset 20; symbolic batch", dynamo=True, symbolic=True),
    Fixture("bottleneck.one_image", "bottleneck", 18, "PyTorch's default export: the batch of 1 is written into the shapes", dynamo=True, one_image=True),
    Fixture("shuffle.one_image", "shuffle", 18, "the same with channel shuffles by Reshape", dynamo=True, one_image=True),
    Fixture("conv_head.one_image", "conv_head", 18, "the same with a convolution as classifier, whose result is reshaped", dynamo=True, one_image=True),
    Fixture("dynamo_raw.bn", "basic", 18, "the dynamo exporter without its optimiser: live BatchNorm, biases computed from shapes",
            dynamo=True, optimise=False, symbolic=True, computed=True),
    Fixture("resnet18.bn", "resnet18", 17, "narrow ResNet-18; live BatchNorm", live=True),
    Fixture("resnet18", "resnet18", 17, "narrow ResNet-18, folded"),
    Fixture("resnet50.bn", "resnet50", 17, "narrow ResNet-50; live BatchNorm", live=True),
    Fixture("resnet50", "resnet50", 17, "narrow ResNet-50, folded"),
    Fixture("resnet101.bn", "resnet101", 17, "narrow ResNet-101; live BatchNorm", live=True),
]  # fmt: skip

SGD = dict(steps=20, lr=0.02, momentum=0.9, nesterov=False, label_smoothing=0.0)
L2SP = dict(penalty="l2-sp", alpha=0.1, beta=0.01)
THIRTY = L2SP | dict(steps=30)
OTHER = dict(steps=20, label_smoothing=0.0) | L2SP
ADAMW = dict(kind="adamw", beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0)
RUNS = [
    dict(name="basic.bn.l2-sp", fixture="basic.bn", batch_norm="train", **SGD | L2SP),
    dict(name="basic.bn.l2", fixture="basic.bn", batch_norm="train", **SGD | L2SP | dict(penalty="l2")),
    dict(name="bottleneck.bn.l2-sp", fixture="bottleneck.bn", batch_norm="frozen", **SGD | L2SP),
    dict(name="vgg.l2-sp", fixture="vgg", batch_norm="frozen", **SGD | L2SP | dict(lr=0.1)),
    dict(name="vgg.l2", fixture="vgg", batch_norm="frozen", **SGD | L2SP | dict(penalty="l2", lr=0.1)),
    dict(name="vgg.plain", fixture="vgg", batch_norm="frozen", **SGD | L2SP | dict(penalty="none", lr=0.1)),
    dict(name="vgg.nesterov", fixture="vgg", batch_norm="frozen", **SGD | L2SP | dict(nesterov=True, steps=5)),
    dict(name="basic.bn.l2-sp-fisher", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="l2-sp-fisher", alpha=2.0)),
    dict(name="basic.bn.l1-sp", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="l1-sp", alpha=0.02)),
    dict(name="basic.bn.gl-sp", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="gl-sp", alpha=0.02)),
    dict(name="basic.bn.gl-sp-fisher", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="gl-sp-fisher", alpha=0.02)),
    dict(name="vgg.gl-sp", fixture="vgg", batch_norm="frozen", **SGD | THIRTY | dict(penalty="gl-sp", alpha=0.005, lr=0.1)),
    dict(name="basic.bn.l1-sp.prox", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="l1-sp", alpha=0.05, step="proximal")),
    dict(name="basic.bn.gl-sp.prox", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="gl-sp", alpha=0.15, step="proximal")),
    dict(name="vgg.gl-sp.prox", fixture="vgg", batch_norm="frozen", **SGD | THIRTY | dict(penalty="gl-sp", alpha=0.03, lr=0.1, step="proximal")),
    dict(name="basic.bn.l2.decoupled", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="l2", step="decoupled")),
    dict(name="basic.bn.l2-sp.decoupled", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(alpha=2.0, step="decoupled")),
    dict(name="basic.bn.l2-sp-fisher.decoupled", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="l2-sp-fisher", alpha=2.0, step="decoupled")),
    dict(name="basic.label_smoothing", fixture="basic", batch_norm="frozen", **SGD | L2SP | dict(label_smoothing=0.1, steps=1)),
    dict(name="basic.bn.l2-sp.adamw.decoupled", fixture="basic.bn", batch_norm="train", **OTHER | dict(steps=30, lr=2e-3, alpha=20.0, lr_mult=[["3.2.*", 5.0]], optimizer=ADAMW, step="decoupled")),
    dict(name="vgg.l1-sp.adamw.prox", fixture="vgg", batch_norm="frozen", **OTHER | dict(steps=30, lr=2e-3, penalty="l1-sp", alpha=0.5, lr_mult=[["9.*", 3.0]], optimizer=ADAMW, step="proximal")),
    # Of other optimizers: `optimizer` has the settings by the names that the manifest gives them.
    dict(name="vgg.sgd", fixture="vgg", batch_norm="frozen", **OTHER | dict(lr=0.1, lr_mult=[["*", 0.5], ["*.bias", 2.0], ["9.*", 3.0]], optimizer=dict(kind="sgd", momentum=0.0, clip_norm=0.88, ema=0.9))),
    dict(name="basic.bn.nesterov", fixture="basic.bn", batch_norm="train", **OTHER | dict(lr=0.02, optimizer=dict(kind="sgd", momentum=0.9, nesterov=True, clip_norm=2.0))),
    dict(name="vgg.adamw", fixture="vgg", batch_norm="frozen", **OTHER | dict(lr=2e-3, optimizer=ADAMW)),
    dict(name="basic.bn.adamw", fixture="basic.bn", batch_norm="train", **OTHER | dict(lr=1e-3, lr_mult=[["3.2.*", 10.0]], optimizer=ADAMW | dict(weight_decay=0.05))),
    dict(name="bottleneck.bn.adamw", fixture="bottleneck.bn", batch_norm="frozen", **OTHER | dict(lr=1e-3, optimizer=ADAMW | dict(clip_norm=1.84, ema=0.95, beta1=0.8, beta2=0.99, eps=1e-6))),
    dict(name="vgg.lars", fixture="vgg", batch_norm="frozen", **OTHER | dict(lr=10.0, lr_mult=[["*.bias", 0.01]], optimizer=dict(kind="lars", momentum=0.9, trust=1e-3))),
    dict(name="basic.bn.lars", fixture="basic.bn", batch_norm="train", **OTHER | dict(lr=1.0, lr_mult=[["*.bias", 0.02]], optimizer=dict(kind="lars", momentum=0.8, trust=1e-2, ema=0.5))),
    dict(name="vgg.spd", fixture="vgg", batch_norm="frozen", **OTHER | dict(penalty="none", lr=1e-2, optimizer=ADAMW | dict(spd=1.0))),
    dict(name="basic.bn.spd", fixture="basic.bn", batch_norm="train", **OTHER | dict(lr=0.02, optimizer=dict(kind="sgd", momentum=0.9, spd=0.5, ema=0.9, clip_norm=1.68))),
    # Losses on what the network computes, with and without a penalty.
    dict(name="basic.bn.delta", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="none", regularizers=[dict(kind="delta", strength=0.5)])),
    dict(name="bottleneck.bn.delta", fixture="bottleneck.bn", batch_norm="frozen", **SGD | THIRTY | dict(regularizers=[dict(kind="delta", strength=0.2)])),
    dict(name="basic.bn.bss", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="none", regularizers=[dict(kind="bss", strength=0.5)])),
    dict(name="vgg.bss", fixture="vgg", batch_norm="frozen", **SGD | THIRTY | dict(lr=0.1, regularizers=[dict(kind="bss", strength=0.05, k=2)])),
    dict(name="vgg.lwf", fixture="vgg", batch_norm="frozen", **SGD | THIRTY | dict(penalty="none", lr=0.1, regularizers=[dict(kind="lwf", strength=4.0)])),
    dict(name="basic.bn.lwf", fixture="basic.bn", batch_norm="train", **SGD | THIRTY | dict(penalty="l1-sp", alpha=0.05, step="proximal", regularizers=[dict(kind="lwf", strength=2.0, temperature=2.0)])),
]  # fmt: skip


def save_tensors(path, tensors, small):
    """Writes tensors; `small` stores floats as float32. Scalars and errors stay float64.
    Where another fixture has the very same values, its file serves both. Returns the file's name."""
    def stored(name, t):
        t = t.detach().clone().contiguous()
        return t.float() if small and t.dtype == torch.float64 and t.dim() > 0 else t

    save_file({n: stored(n, torch.as_tensor(t)) for n, t in tensors.items()}, path)
    path.chmod(0o644)
    for other in sorted(FIXTURES.glob("*.safetensors")):
        if other != path and other.read_bytes() == path.read_bytes():
            path.unlink()
            return other.name
    return path.name


class Unlucky(Exception):
    """Another seed may do."""


def demand(condition, message, kind=SystemExit):
    if not condition:
        raise kind(message)


def make(fixture):
    """The fixture from the first seed whose float32 evaluation stays close to float64 (no ReLU flips)."""
    for seed in range(20):
        try:
            return make_from(fixture, seed)
        except Unlucky as reason:
            print(f"  seed {seed} refused: {reason}", flush=True)
    sys.exit(f"no seed will do for {fixture.name}")


def make_from(fixture, seed):
    module, shape = networks.build(fixture.network, seed, fixture.default_init)
    reference = networks.build(fixture.network, seed, fixture.default_init)[0].double()
    model = fixture.change(variants.export(module, shape, fixture.opset, **fixture.export))
    path = FIXTURES / f"{fixture.name}.onnx"
    side = FIXTURES / f"{fixture.name}.weights"
    side.unlink(missing_ok=True)
    if fixture.external:
        onnx.save_model(model, path, save_as_external_data=True, location=side.name, size_threshold=0)
        side.chmod(0o644)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=True)
    if fixture.export.get("one_image"):
        path = for_any_batch(fixture, model, seed)

    x, target = next(networks.data(fixture.network, seed))
    deep = fixture.network in DEEP
    has_batch_norm = any(n.op_type == "BatchNormalization" for n in model.graph.node)
    modes = ["train", "frozen"] if has_batch_norm else ["frozen"]
    tensors, zeros = {"input": x, "target": target}, {}
    for mode in modes:
        onnx_torch.margins.clear()
        values, network = golden.step(path, x, target, mode)
        # An activation this close to a Relu's kink may fall on either side of it in float32, whoever computes.
        demand(not deep or min(onnx_torch.margins, default=1.0) > MARGIN, f"{fixture.name} {mode}: a Relu's input is {min(onnx_torch.margins, default=1.0):.1g} from 0", Unlucky)
        errors = golden.float32_error(path, x, target, mode, values)
        zeros[mode] = judge(fixture, mode, values, errors, deep)
        compare_with_module(fixture, reference, x, target, mode, values, network)
        if mode == "frozen":
            compare_with_onnxruntime(fixture, path, x, values["logits"])
        values |= golden.tied(values, network)
        tensors |= {f"{mode}/{n}": v for n, v in values.items()}
        tensors |= {f"{mode}/f32_error/{n.removeprefix('grad/')}": torch.tensor(e, dtype=torch.float64) for n, e in errors.items() if e > SILENT}
    file = save_tensors(FIXTURES / f"{fixture.name}.golden.safetensors", tensors, small=deep)
    return dict(
        name=fixture.name, file=f"{fixture.name}.onnx", golden=file, batch_norm=modes, input_shape=list(shape),
        dtype="float64" if fixture.export.get("dtype") == torch.float64 else "float32", opset=fixture.opset, ir_version=model.ir_version,
        more_parameters=fixture.computed, symbolic_batch=bool(fixture.export.get("symbolic")), deep=deep, classes=networks.CLASSES, note=fixture.note,
        weights=network.weights, zero_gradients=zeros,
    )  # fmt: skip


def for_any_batch(fixture, model, seed):
    """The same network exported for any batch size, on which the golden values of a file for one image are computed."""
    module, shape = networks.build(fixture.network, seed, fixture.default_init)
    general = fixture.change(variants.export(module, shape, fixture.opset, **fixture.export | dict(one_image=False, symbolic=True)))
    tensors = [{t.name: t.raw_data for t in m.graph.initializer if t.data_type == onnx.TensorProto.FLOAT} for m in (model, general)]
    demand(tensors[0] == tensors[1], f"{fixture.name}: the export for any batch size has other weights")
    path = pathlib.Path(tempfile.mkdtemp(), "general.onnx")
    path.write_bytes(general.SerializeToString())
    return path


def judge(fixture, mode, values, errors, deep):
    """Refuses golden values that could not show an error. Returns the parameters whose gradient is zero for good:
    a shift that nothing but a convolution and the next BatchNormalization in training mode sees."""
    where = f"{fixture.name} {mode}"
    demand(0.1 < values["loss"] < 20, f"{where}: loss {values['loss']:.3g}")
    norms = {n.removeprefix("grad/"): v.norm() / values["loss"] for n, v in values.items() if n.startswith("grad/")}
    largest = max(norms.values())
    zeros = [n for n, norm in norms.items() if norm < 1e-13 * largest]
    for name, value in values.items():
        demand(value.isfinite().all(), f"{where}: {name} is not finite")
    for name, norm in norms.items():
        demand(name in zeros or norm > 1e-5 * largest, f"{where}: the gradient of {name} vanishes ({norm:.2g} of {largest:.2g})", Unlucky)
    demand(not zeros or mode == "train", f"{where}: no gradient for {zeros}")
    for name in zeros:
        del errors[f"grad/{name}"]
    worst = max(errors, key=errors.get)
    demand(errors[worst] < (1e-4 if deep else 3e-5), f"{where}: float32 is {errors[worst]:.2g} from float64 in {worst}", Unlucky)
    print(f"{where:28} loss {values['loss']:.4f}  {len(errors):4} tensors  float32 error {errors[worst]:.1e}", flush=True)
    return zeros


def compare_with_module(fixture, module, x, target, mode, values, network):
    """The module's own gradients and statistics, where the file kept their names."""
    live = sum(n.op_type == "BatchNormalization" for n in network.model.graph.node)
    if mode == "train" and live != len(networks.batch_norms(module)):
        return  # partly folded: in training mode the module is another network
    module.train(mode == "train").zero_grad()
    saved = {n: b.clone() for n, b in module.named_buffers()}
    logits = module(x.double())
    loss = torch.nn.functional.cross_entropy(logits, target)
    loss.backward()
    # Folding rounds the weights to float32; otherwise they are equal.
    demand(golden.relative(values["logits"], logits) < 2e-6, f"{fixture.name} {mode}: logits differ from the module's")
    kept = {n: p for n, p in module.named_parameters() if n in network.parameters and p.equal(network.parameters[n])}
    own = {f"grad/{n}": p.grad for n, p in kept.items()}
    own |= {f"buffer/{n}": b for n, b in module.named_buffers()} if mode == "train" else {}
    matched = [n for n in own if n in values]
    for name in matched:
        if values[name].norm() > 1e-12:
            demand(golden.relative(values[name], own[name]) < 2e-5, f"{fixture.name} {mode}: {name} differs from the module's")
    if fixture.export.get("live"):
        demand(len(matched) == len(values) - 2, f"{fixture.name} {mode}: names differ from the module's")
    with torch.no_grad():
        for n, b in module.named_buffers():
            b.copy_(saved[n])


def compare_with_onnxruntime(fixture, path, x, logits):
    if fixture.export.get("dtype") == torch.float64:
        found = ReferenceEvaluator(str(path)).run(None, {"input": x.double().numpy()})[0]
    else:
        found = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x.numpy()})[0]
    difference = golden.relative(torch.from_numpy(np.array(found)), logits)
    demand(difference < (1e-4 if fixture.network in DEEP else 1e-5), f"{fixture.name}: ONNX Runtime's logits differ by {difference:.2g}")


def make_run(run):
    """A training run's golden values, with how far float32 drifts from them."""
    fixture = next(f for f in LIST if f.name == run["fixture"])
    path = FIXTURES / f"{fixture.name}.onnx"
    batches = list(networks.data(fixture.network, seed=50, batches=4))
    options = dict(steps=run["steps"], mode=run["batch_norm"], lr_mult=run.get("lr_mult", ()), **{k: run[k] for k in ("lr", "penalty", "alpha", "label_smoothing")})
    options |= dict(optimizer=run.get("optimizer") or dict(kind="sgd", momentum=run["momentum"], nesterov=run["nesterov"]), step=run.get("step", "gradient"))
    settings = options["optimizer"]
    if run["penalty"].endswith("-fisher"):
        run, options["fisher"] = make_fisher(run, path)
    if run.get("regularizers"):
        options |= dict(regularizers=run["regularizers"], names=look(path))
    exact, extras = golden.train(path, batches, **options)
    rough, _ = golden.train(path, batches, **options, dtype=torch.float32)
    print(f"{run['name']:28} {extras}", flush=True)
    demand(not settings.get("clip_norm") or 0 < extras["clipped"] < extras["steps"], f"{run['name']}: it clips never or always")
    demand(not settings.get("spd") or extras["projected"] > 0, f"{run['name']}: it never projects")
    errors = {n: golden.relative(rough[n], v) if v.norm() > 0 else 0.0 for n, v in exact.items()}
    worst = max(errors, key=errors.get)
    demand(errors[worst] < 1e-3, f"{run['name']}: float32 drifts by {errors[worst]:.2g} in {worst}")
    if run["steps"] == 20 and run["penalty"] != "l2":
        fall = 0.97 if "optimizer" in run else 0.9  # what holds weights back, or learns the scale of gradients first, gets less far
        demand(exact["data_loss"][-4:].mean() < fall * exact["data_loss"][:4].mean(), f"{run['name']}: the loss does not fall")
    if run["steps"] == 30:
        network = onnx_torch.Network(path, torch.float64)
        if options["step"] == "proximal":
            demand_returned(run, network, exact)
        demand_effect(run, network.weights, exact, golden.train(path, batches, **options | dict(penalty="none", step="gradient", regularizers=()))[0])
    print(f"{run['name']:28} data loss {exact['data_loss'][:4].mean():.4f} -> {exact['data_loss'][-4:].mean():.4f}  penalty {exact['penalty'][-1]:.4f}  float32 error {errors[worst]:.1e}", flush=True)
    inputs = {f"{k}/{n}": t for k, (x, y) in enumerate(batches) for n, t in (("input", x), ("target", y))}
    data = save_tensors(FIXTURES / f"{fixture.name}.batches.safetensors", inputs, small=False)
    tensors = exact | {f"f32_error/{n}": torch.tensor(e, dtype=torch.float64) for n, e in errors.items() if e > SILENT}
    file = save_tensors(FIXTURES / f"{run['name']}.training.safetensors", tensors, small=False)
    return dict(run, golden=file, batches=data)


def look(path):
    """The values that the regularizers look at, found by their names: of each stage the last convolution on the longer branch, and
    the classifier's input. In the fixtures `conv3`, or `conv2` without one, of the last block; every block is a stage there."""
    graph = onnx.load(path).graph
    convolutions = [n for n in graph.node if n.op_type == "Conv" and "downsample" not in n.name]
    last = {n.name.split("/conv")[0]: n.output[0] for n in convolutions if "/conv" in n.name}  # by block; later ones win
    gemm = [n for n in graph.node if n.op_type == "Gemm"][-1]
    return dict(maps=list(last.values()), features=gemm.input[0])


def make_fisher(run, path):
    """Random Fisher information for the run, in the form of `spgraph fisher`'s file, which a rewrite reads."""
    generator = torch.Generator().manual_seed(9)
    parameters = onnx_torch.Network(path, torch.float32).parameters
    fisher = {n: 2 * torch.rand(p.shape, generator=generator) for n, p in parameters.items()}
    file = FIXTURES / f"{run['fixture']}.fisher.safetensors"
    about = dict(format=1, source=dict(file=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest()), mode="random")
    save_file(fisher, file, metadata={"spgraph": json.dumps(about)})
    file.chmod(0o644)
    return dict(run, fisher=file.name), fisher


def demand_effect(run, weights, with_penalty, without):
    """The penalty must show in the weights, far above the tests' tolerance of 1e-4."""
    effect = max(golden.relative(with_penalty[f"final/{n}"], without[f"final/{n}"]) for n in weights)
    demand(effect > 0.01, f"{run['name']}: the penalty changes the weights by {effect:.2g} only")


def demand_returned(run, network, final):
    """A proximal run must leave some weights at their start, and not all."""
    returned = torch.cat([(final[f"final/{n}"] == network.parameters[n]).flatten() for n in network.weights]).double().mean()
    demand(0.05 < returned < 0.95, f"{run['name']}: {returned:.1%} of the weights are at their start")


def make_skeletons():
    folder = FIXTURES / "skeleton"
    folder.mkdir(exist_ok=True)
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        for live in (False, True):
            torch.manual_seed(0)
            module = getattr(torchvision.models, name)(weights=None)
            networks.randomise(module, (2, 3, 64, 64))  # no two tensors are equal, so that nothing is deduplicated
            model = variants.export(module.eval(), (2, 3, 224, 224), 17, live=live, symbolic=True)
            path = folder / f"{name}{'.bn' if live else ''}.onnx"
            path.write_bytes(variants.skeleton(model).SerializeToString(deterministic=True))
            print(path.name, path.stat().st_size, flush=True)


def main(names):
    torch.set_num_threads(1)
    FIXTURES.mkdir(exist_ok=True)
    index_file = FIXTURES / "index.json"
    old = json.loads(index_file.read_text()) if index_file.exists() else dict(fixtures=[], training=[])
    kept = {f["name"]: f for f in old["fixtures"]}
    runs = {r["name"]: r for r in old["training"]}
    for fixture in LIST:
        if not names or fixture.name in names:
            kept[fixture.name] = make(fixture)
    for run in RUNS:
        if not names or run["name"] in names:
            runs[run["name"]] = make_run(run)
    if not names or "skeletons" in names:
        make_skeletons()
    index = dict(fixtures=[kept[f.name] for f in LIST if f.name in kept], training=[runs[r["name"]] for r in RUNS if r["name"] in runs])
    lines = ["{"]
    for key, entries in index.items():
        rows = [f"  {json.dumps(e, ensure_ascii=False)}" for e in entries]
        lines += [f' "{key}": [', ",\n".join(rows), " ]," if key == "fixtures" else " ]"]
    index_file.write_text("\n".join([*lines, "}"]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
