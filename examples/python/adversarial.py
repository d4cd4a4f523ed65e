"""A change that nobody sees and that the network does: a step along the signs of the gradient (FGSM, Goodfellow et al., 2015).

    spgraph grad model.onnx --wrt input --of logits -o grad.onnx
    python adversarial.py grad.onnx image.npy -o changed.npy [--epsilon 0.03]

`image.npy` holds one prepared image, 1 × channels × height × width; epsilon is on its scale.
"""
import argparse
import numpy as np, onnxruntime as ort

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model"), parser.add_argument("image"), parser.add_argument("-o", "--output", required=True)
parser.add_argument("--epsilon", type=float, default=0.03, help="the largest change of any number")
options = parser.parse_args()

session = ort.InferenceSession(options.model, providers=["CPUExecutionProvider"])
image_port, cotangent_port = session.get_inputs()
scores_port, gradient_port = session.get_outputs()
image = np.load(options.image).astype(np.float32)
if image.ndim != 4 or len(image) != 1:
    parser.error(f"{options.image} holds an array of shape {image.shape}; it must be 1 × channels × height × width")


def product(image, weights):
    return session.run([scores_port.name, gradient_port.name], {image_port.name: image, cotangent_port.name: weights.astype(np.float32)})


def shares(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


nothing = np.zeros((1, scores_port.shape[-1]))
scores, _ = product(image, nothing)
label, before = int(scores.argmax()), shares(scores)
# The gradient of the cross-entropy for the scores is shares − target: a chain rule by hand, which the cotangent is for.
_, gradient = product(image, before - np.eye(scores.shape[-1])[[label]])
changed = (image + options.epsilon * np.sign(gradient)).astype(np.float32)
after = shares(product(changed, nothing)[0])
np.save(options.output, changed)
print(f"class {label}: {before[0, label]:.1%} before, {after[0, label]:.1%} after; the likeliest is {after.argmax()} now ({after.max():.1%})")
