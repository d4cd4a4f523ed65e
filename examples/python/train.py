"""Fine-tunes a bundle of `spgraph rewrite` with nothing but onnxruntime and numpy: what any runtime has to do.

    python train.py BUNDLE [--data batch.npz] [--steps 10] [--lr 0.01]

`batch.npz` holds `input` and `target` of one batch; without it the data are random.
"""
import argparse, json, pathlib
import numpy as np, onnxruntime as ort

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bundle", type=pathlib.Path)
parser.add_argument("--data"), parser.add_argument("--steps", type=int, default=10), parser.add_argument("--lr", type=float)
options = parser.parse_args()

manifest = json.loads((options.bundle / "manifest.json").read_text())
if manifest["format"] != 2:
    raise SystemExit(f"{options.bundle} has format {manifest['format']}, and this script reads 2: rewrite the model again")
image, label = manifest["data"]["input"], manifest["data"]["target"]
init, step = (ort.InferenceSession(options.bundle / f"{name}.onnx", providers=["CPUExecutionProvider"]) for name in ("init", "step"))
start = dict(zip([o.name for o in init.get_outputs()], init.run(None, {})))
state = {s["input"]: start[s["name"]] for s in manifest["state"]}
feeds = {s["name"]: np.array(s["default"], np.float32) for s in manifest["scalars"]}
feeds |= {s["name"]: np.array(options.lr, np.float32) for s in manifest["scalars"] if options.lr and s["meaning"] == "learning-rate"}
shape = [abs(n) for n in image["shape"]]  # a symbolic batch is -1
data = np.load(options.data) if options.data else {"input": np.random.randn(*shape), "target": np.random.randint(0, 2, shape[0])}
feeds |= {image["name"]: data["input"].astype(image["dtype"]), label["name"]: data["target"].astype(label["dtype"])}
names = [o.name for o in step.get_outputs()]
measures = {o["meaning"]: o["name"] for o in manifest["outputs"]}
for k in range(options.steps):
    outputs = dict(zip(names, step.run(None, feeds | state)))
    state = {s["input"]: outputs[s["output"]] for s in manifest["state"]}
    loss, data_loss, correct = (outputs[measures[m]] for m in ("loss", "data-loss", "correct"))
    print(f"step {k + 1}  loss {loss:.4f}  data loss {data_loss:.4f}  correct {int(correct)}/{shape[0]}")
