"""Times of the forms that a gradient rule or an operator can take, each a model of its own, on ONNX Runtime's CPU provider.

usage: bench/forms.py [NAME …] [--rounds 5] [--threads 2] [--batch 16]

All forms of one question run in turn; the least of the rounds' medians counts. The first form is the one that spgraph takes, and all
must give the same numbers. NAMEs choose questions by what they begin with.
"""
import argparse
import statistics
import time

import numpy as np
import onnx.parser
import onnxruntime


def session(inputs, body, threads):
    """`inputs`: {name: shape}; `body`: nodes in ONNX's textual syntax that compute `y`."""
    ports = ", ".join(f"float[{', '.join(map(str, shape))}] {name}" for name, shape in inputs.items())
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({ports}) => (float y) {{ {body} }}')
    model.graph.output[0].type.tensor_type.ClearField("shape")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def ints(name, *values):
    return f"{name} = Constant <value_ints = [{', '.join(map(str, values))}]> ()\n"


def first(forms, chosen):
    """The forms, the other way round where the first one is not the chosen one."""
    return forms if chosen else dict(reversed(forms.items()))


def conv(n, c, k, size, stride, kernel):
    """A convolution with `same` padding: as it is, and with the batch stacked into one tall image."""
    pad, out = kernel // 2, size // stride
    rows = size + stride * bool(pad)
    inputs = {"x": (n, c, size, size), "w": (k, c, kernel, kernel), "b": (k,)}
    attributes = lambda end: f"<pads = [{pad}, {pad}, {end}, {pad}], strides = [{stride}, {stride}]>"
    end = max(0, kernel - stride - pad)
    tall = (ints("p", 0, 0, 0, 0, 0, 0, rows - size, 0) + "z = Pad(x, p)\n t = Transpose <perm = [1, 0, 2, 3]> (z)\n"
            + ints("s", 1, c, n * rows, size) + f"r = Reshape(t, s)\n c = Conv {attributes(end)} (r, w, b)\n"
            + ints("s2", k, n, rows // stride, out) + "d = Reshape(c, s2)\n"
            + ints("f", 0) + ints("e", out) + ints("a", 2) + "u = Slice(d, f, e, a)\n y = Transpose <perm = [1, 0, 2, 3]> (u)\n")
    forms = {"one tall image": tall, "Conv": f"y = Conv {attributes(pad)} (x, w, b)"}
    return inputs, first(forms, out * out < (k if kernel > 1 else 65))


def weight_grad(n, c, size):
    """The weight gradient of a 3×3 convolution of c to c channels: by lines, by pieces, by pieces stacked for one product."""
    inputs = {"x": (n, c, size, size), "g": (n, c, size, size)}
    padded = ints("p", 0, 0, 1, 1, 0, 0, 1, 1) + "z = Pad(x, p)\n"
    sums = ints("zero", 0)

    lines = padded + sums
    for j in range(3):
        lines += ints(f"p{j}", 0, 0, 0, j, 0, 0, 0, 2 - j) + f"g{j} = Pad(g, p{j})\n"
        lines += ints(f"s{j}", n, c, size * (size + 2)) + f"d{j} = Reshape(g{j}, s{j})\n"
    for i in range(3):
        lines += ints(f"f{i}", i) + ints(f"e{i}", i + size) + ints(f"a{i}", 2) + f"x{i} = Slice(z, f{i}, e{i}, a{i})\n"
        lines += f"l{i} = Reshape(x{i}, s0)\n c{i} = Transpose <perm = [0, 2, 1]> (l{i})\n"
        lines += "".join(f"m{i}{j} = MatMul(d{j}, c{i})\n q{i}{j} = ReduceSum <keepdims = 0> (m{i}{j}, zero)\n" for j in range(3))

    pieces = padded + sums + ints("s", n, c, size * size) + "d = Reshape(g, s)\n"
    for i in range(3):
        for j in range(3):
            at = f"{i}{j}"
            pieces += ints(f"f{at}", i, j) + ints(f"e{at}", i + size, j + size) + ints(f"a{at}", 2, 3) + f"x{at} = Slice(z, f{at}, e{at}, a{at})\n"
            pieces += f"l{at} = Reshape(x{at}, s)\n c{at} = Transpose <perm = [0, 2, 1]> (l{at})\n"
            pieces += f"m{at} = MatMul(d, c{at})\n q{at} = ReduceSum <keepdims = 0> (m{at}, zero)\n"

    taps = [f"{i}{j}" for i in range(3) for j in range(3)]
    join = (f"k = Concat <axis = 1> ({', '.join('q' + t for t in taps)})\n" + ints("sk", c, 9, c)
            + "k3 = Reshape(k, sk)\n y = Transpose <perm = [0, 2, 1]> (k3)\n")

    stacked = padded + "xt = Transpose <perm = [1, 0, 2, 3]> (z)\n gt = Transpose <perm = [1, 0, 2, 3]> (g)\n" + ints("sd", c, n * size * size) + "d = Reshape(gt, sd)\n"
    stacked += ints("sp", c, 1, n * size * size)
    for i in range(3):
        for j in range(3):
            at = f"{i}{j}"
            stacked += ints(f"f{at}", i, j) + ints(f"e{at}", i + size, j + size) + ints(f"a{at}", 2, 3) + f"x{at} = Slice(xt, f{at}, e{at}, a{at})\n"
            stacked += f"l{at} = Reshape(x{at}, sp)\n"
    stacked += (f"k = Concat <axis = 1> ({', '.join('l' + t for t in taps)})\n" + ints("sk", 9 * c, n * size * size)
                + "k2 = Reshape(k, sk)\n m = Gemm <transB = 1> (d, k2)\n" + ints("sy", c, c, 9) + "y = Reshape(m, sy)\n")
    forms = {"lines": lines + join, "pieces": pieces + join, "stacked pieces": stacked}
    return inputs, first(forms, size >= 28)


def input_grad(n, c, size):
    """The input gradient of a 3×3 convolution."""
    inputs = {"g": (n, c, size, size), "w": (c, c, 3, 3)}
    turned = ("t = Transpose <perm = [1, 0, 2, 3]> (w)\n" + ints("f", -1, -1) + ints("e", -9, -9) + ints("a", 2, 3) + ints("q", -1, -1)
              + "v = Slice(t, f, e, a, q)\n y = Conv <pads = [1, 1, 1, 1]> (g, v)\n")
    forms = {"Conv with the kernel turned over": turned, "ConvTranspose": "y = ConvTranspose <pads = [1, 1, 1, 1]> (g, w)"}
    return inputs, first(forms, size >= 28)


def apart(n, c, size):
    """Every second pixel, for all four places to start from."""
    half = size // 2
    splits = (ints("one", 1, 1) + ints("s", n, c, size, half, 2) + "a = Reshape(x, s)\n l, r = Split <axis = 4> (a, one)\n" + ints("s2", n, c, half, 2, half)
              + "l2 = Reshape(l, s2)\n r2 = Reshape(r, s2)\n p, q = Split <axis = 3> (l2, one)\n u, v = Split <axis = 3> (r2, one)\n"
              + ints("s3", 1, n * c * half * half) + "".join(f"{o}1 = Reshape({o}, s3)\n" for o in "puqv") + "y = Concat <axis = 0> (p1, u1, q1, v1)\n")
    slices = ints("ax", 2, 3) + ints("e", size, size) + ints("st", 2, 2) + ints("s3", 1, n * c * half * half)
    for o, i, j in [("p", 0, 0), ("u", 0, 1), ("q", 1, 0), ("v", 1, 1)]:
        slices += ints("f" + o, i, j) + f"{o} = Slice(x, f{o}, e, ax, st)\n {o}1 = Reshape({o}, s3)\n"
    slices += "y = Concat <axis = 0> (p1, u1, q1, v1)\n"
    space = ("z = SpaceToDepth <blocksize = 2> (x)\n" + ints("cs", c, c, c, c) + "p, u, q, v = Split <axis = 1> (z, cs)\n" + ints("s3", 1, n * c * half * half)
             + "".join(f"{o}1 = Reshape({o}, s3)\n" for o in "puqv") + "y = Concat <axis = 0> (p1, u1, q1, v1)\n")
    return {"x": (n, c, size, size)}, {"Split, axis by axis": splits, "strided Slices": slices, "SpaceToDepth": space}


def rectified(n, c, size):
    """The gradient of a rectifier with the result `x`."""
    inputs = {name: (n, c, size, size) for name in ("x", "g")}
    zero = "zero = Constant <value = float[1, 1, 1, 1] {0.0}> ()\n"
    return inputs, {
        "HardSigmoid": "m = HardSigmoid <alpha = 3e38, beta = 0.0> (x)\n y = Mul(m, g)\n",
        "Cast(Greater)": zero + "t = Greater(x, zero)\n m = Cast <to = 1> (t)\n y = Mul(m, g)\n",
        "Where": zero + "t = Greater(x, zero)\n y = Where(t, g, zero)\n",
    }


# name: (inputs, {form: body})
def questions(n):
    sizes = [(64, 56), (128, 28), (256, 14), (512, 7)]
    found = {}
    found.update({f"forward 3×3, {c} channels, {size}²": conv(n, c, c, size, 1, 3) for c, size in sizes})
    strided = [(128, 56), (256, 28), (512, 14)]
    found.update({f"forward 3×3 stride 2, {c} channels, {size}²": conv(n, c, c, size, 2, 3) for c, size in strided})
    found["forward 1×1, 1024 → 256, 14²"] = conv(n, 1024, 256, 14, 1, 1)
    found["forward 1×1, 2048 → 512, 7²"] = conv(n, 2048, 512, 7, 1, 1)
    found.update({f"weight gradient 3×3, {c} channels, {size}²": weight_grad(n, c, size) for c, size in sizes})
    found.update({f"input gradient 3×3, {c} channels, {size}²": input_grad(n, c, size) for c, size in sizes})
    found["phases of 64 channels, 112²"] = apart(n, 64, 112)
    found["rectifier's gradient, 256 channels, 56²"] = rectified(n, 256, 56)
    return found


def measure(inputs, forms, rounds, threads):
    """Milliseconds by form."""
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in inputs.items()}
    sessions = {form: session(inputs, body, threads) for form, body in forms.items()}
    first, times = None, {form: [] for form in forms}
    for form, s in sessions.items():
        y = s.run(None, feeds)[0].ravel()
        first = y if first is None else first
        worst = np.abs(y - first).max() / np.abs(first).max()
        assert worst < 1e-4, f"{form} differs by {worst:.1e}"
    for _ in range(rounds):
        for form, s in sessions.items():
            runs = []
            for _ in range(7):
                begin = time.perf_counter()
                s.run(None, feeds)
                runs.append(time.perf_counter() - begin)
            times[form].append(1e3 * statistics.median(runs))
    return {form: min(medians) for form, medians in times.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--batch", type=int, default=16)
    a = p.parse_args()
    every = questions(a.batch)
    chosen = {q: f for q, f in every.items() if not a.names or any(q.startswith(name) for name in a.names)}
    if not chosen:
        p.error(f"no question begins with {' or '.join(a.names)}; there are: {'; '.join(every)}")
    for question, (inputs, forms) in chosen.items():
        found = measure(inputs, forms, a.rounds, a.threads)
        print(f"{question:<45}" + ", ".join(f"{form} {ms:.1f}" for form, ms in found.items()), flush=True)


if __name__ == "__main__":
    main()
