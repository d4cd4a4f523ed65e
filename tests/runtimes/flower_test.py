"""Two rounds of four clients in Flower give the weights that a loop of numpy gives, for FedAvg and FedProx. `make test-flower`."""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import lab

sys.path.insert(0, str(lab.ROOT / "examples" / "flower"))
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])
import federated  # noqa: E402
import spgraph  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

CLIENTS, ROUNDS = 4, 2


def expected(bundle, images, mu):
    clients = [federated.Client(bundle, images, k, CLIENTS) for k in range(CLIENTS)]
    files = [f for c in clients for f, _ in c.folder.files]
    assert len(set(files)) == len(files), "clients share images"
    weights = federated.sent(clients[0].trainer)
    for number in range(1, ROUNDS + 1):
        answers = [c.fit([w.copy() for w in weights], {"round": number, "mu": mu})[:2] for c in clients]
        total = sum(n for _, n in answers)
        weights = [sum(w[i].astype(np.float64) * n for w, n in answers) / total for i in range(len(weights))]
        weights = [w.astype(np.float32) for w in weights]
    return dict(zip((s["name"] for s in bundle.named(*federated.SENT)), weights))


def flower(work, bundle, images, mu):
    script = lab.ROOT / "examples" / "flower" / "federated.py"
    command = [sys.executable, script, bundle.folder, images, work / f"{mu}.onnx", "--mu", mu, "--clients", CLIENTS, "--rounds", ROUNDS, "--weights", work / f"{mu}.safetensors"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return load_file(work / f"{mu}.safetensors")


with tempfile.TemporaryDirectory() as folder:
    work = pathlib.Path(folder)
    images = pathlib.Path(os.environ["IMAGES"]) if "IMAGES" in os.environ else work / "images"
    if "IMAGES" not in os.environ:
        spgraph.run("synth", "--task", "target-a", "--per-class", 20, "-o", images)
    count = len([p for p in images.iterdir() if p.is_dir()])
    model = os.environ.get("MODEL") or lab.ROOT / "models" / "resnet20-source.onnx"
    # The new head is made once, so that it has a starting point like everything else.
    spgraph.export(spgraph.rewrite(model, work / "head", classes=images), work / "start.onnx")
    bundle = spgraph.rewrite(work / "start.onnx", work / "bundle", batch=10, penalize="all", lr=0.01, batch_norm="frozen", start="input", head="keep")
    results = {}
    for mu in (0.0, 30.0):
        found, due = flower(work, bundle, images, mu), expected(bundle, images, mu)
        error = max(float(np.linalg.norm(found[n] - t) / max(np.linalg.norm(t), 1e-30)) for n, t in due.items())
        start = bundle.start()
        results[mu] = np.sqrt(sum(float(np.sum((t - start[n]) ** 2)) for n, t in due.items()))
        said = spgraph.run("eval", work / f"{mu}.onnx", "--data", images)
        print(f"mu {mu}: largest difference to a loop of numpy {error:.1e}, {results[mu]:.4f} from the start; {next(l for l in said.splitlines() if 'accuracy' in l)}")
        assert error < 1e-4, error
    assert results[30.0] < 0.95 * results[0.0], results
print("2 passed, 0 failed")
