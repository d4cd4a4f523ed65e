"""How far gradients in bfloat16 are from float64: spgraph's native kernels (--precision bf16) beside PyTorch's autocast, tensor by tensor.

usage: bench/exactness.py MODEL [--batch 8] [--size 96] [--batch-norm train|frozen]

One step of the same network on the same random batch: PyTorch in float64 says what is right; both others are measured by the norm of their
difference to it, relative to the norm of the gradient. Prints the medians, the worst tensors, and the median and the worst ratio of
spgraph's error to autocast's. Needs torch and onnx2torch, a release build with its examples, and ONNX Runtime.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def torch_gradients(model, data, target, mode, dtype, autocast):
    """Name by the parameter's values: its gradient, as float64."""
    import onnx2torch
    import torch

    torch.set_num_threads(2)
    network = onnx2torch.convert(str(model)).to(dtype)
    network.train(mode == "train")
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    if autocast:
        network = network.to(memory_format=torch.channels_last)
    x = torch.from_numpy(data).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = torch.nn.functional.cross_entropy(network(x), torch.from_numpy(target))
    loss.backward()
    return [(p.detach().double().numpy(), p.grad.double().numpy()) for p in network.parameters() if p.grad is not None], loss.item()


def own_gradients(model, data, target, a, precision, work):
    """The same of spgraph: momentum after one step at no penalty, with the start that it began from."""
    import numpy as np

    bundle, out = work / "bundle", work / precision
    options = ["--batch", str(len(data)), "--penalty", "none", "--input-shape", f"3x{a.size}x{a.size}", "--batch-norm", a.batch_norm]
    if not bundle.exists():
        subprocess.run([ROOT / "target/release/spgraph", "rewrite", model, "-o", bundle, *options], check=True, stdout=subprocess.DEVNULL)
        (work / "data.f32").write_bytes(data.astype("<f4").tobytes())
        (work / "target.i64").write_bytes(target.astype("<i8").tobytes())
    run = subprocess.run([ROOT / "target/release/examples/one_step", bundle, work, precision, out], check=True, capture_output=True, text=True)
    found = {}
    for n, tensor in enumerate(json.loads((out / "state.json").read_text())):
        found[tensor["name"]] = (tensor, np.fromfile(out / f"{n}.f32", "<f4").reshape(tensor["shape"]).astype(np.float64))
    gradients = []
    for tensor, value in found.values():
        # With rate 1 and momentum that begins at 0: next = start − gradient.
        moment = next((v for t, v in found.values() if t.get("of") == tensor["name"] or t["name"] == tensor["name"] + ".velocity"), None)
        if moment is not None:
            gradients.append((value + moment, moment))
    return gradients, float(run.stdout.split()[-1])


def matched(reference, others):
    """Pairs of gradients of the same parameter, told by its values."""
    import numpy as np

    left = list(others)
    for value, gradient in reference:
        for k, (other, found) in enumerate(left):
            same = other.shape == value.shape and np.allclose(other, value, rtol=1e-4, atol=1e-5)
            turned = other.ndim == 2 and other.T.shape == value.shape and np.allclose(other.T, value, rtol=1e-4, atol=1e-5)
            if same or turned:
                yield gradient, found if same else found.T
                del left[k]
                break
        else:
            yield gradient, None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--size", type=int, default=96)
    p.add_argument("--batch-norm", choices=["train", "frozen"], default="frozen")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    import numpy as np
    import torch

    random = np.random.default_rng(a.seed)
    data = random.standard_normal((a.batch, 3, a.size, a.size)).astype(np.float32)
    # Smooth pictures: neighbours are alike, as in photographs.
    kernel = np.exp(-np.linspace(-2, 2, 9) ** 2)
    for axis in (2, 3):
        data = np.apply_along_axis(lambda line: np.convolve(line, kernel / kernel.sum(), mode="same"), axis, data).astype(np.float32)
    data /= data.std()
    target = random.integers(0, 10, a.batch)
    exact, loss = torch_gradients(a.model, data, target, a.batch_norm, torch.float64, False)
    autocast, loss_autocast = torch_gradients(a.model, data, target, a.batch_norm, torch.float32, True)
    with tempfile.TemporaryDirectory() as work:
        own, loss_own = own_gradients(pathlib.Path(a.model).resolve(), data, target, a, "bf16", pathlib.Path(work))
        single, loss_single = own_gradients(pathlib.Path(a.model).resolve(), data, target, a, "float32", pathlib.Path(work))
    error = lambda found, right: None if found is None else float(np.linalg.norm(found - right) / np.linalg.norm(right))
    of = {name: [error(found, right) for right, found in matched(exact, other)]
          for name, other in (("autocast", autocast), ("bf16", own), ("float32", single))}
    rows = [(n, t, s, float(np.linalg.norm(g))) for n, t, s, (_, g) in zip(of["bf16"], of["autocast"], of["float32"], exact) if n is not None and t]
    if not rows:
        sys.exit("no parameter of the two was told to be the same")
    ratios = [n / t for n, t, _, _ in rows]
    print(f"{pathlib.Path(a.model).name}, batch {a.batch}, {a.size}², BatchNorm {a.batch_norm}: {len(rows)} of {len(exact)} parameters")
    print(f"loss            float64 {loss:.6f}  autocast {loss_autocast:.6f}  bf16 {loss_own:.6f}  float32 {loss_single:.6f}")
    print(f"median error    autocast {statistics.median(t for _, t, _, _ in rows):.2e}  bf16 {statistics.median(n for n, _, _, _ in rows):.2e}"
          f"  float32 {statistics.median(s for _, _, s, _ in rows):.2e}")
    print(f"worst error     autocast {max(t for _, t, _, _ in rows):.2e}  bf16 {max(n for n, _, _, _ in rows):.2e}  float32 {max(s for _, _, s, _ in rows):.2e}")
    print(f"bf16 ÷ autocast median {statistics.median(ratios):.2f}, worst {max(ratios):.2f}, above 1.5: {sum(r > 1.5 for r in ratios)} of {len(ratios)}")


if __name__ == "__main__":
    main()
