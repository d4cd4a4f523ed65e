"""Which pixels a network's decision depends on: the gradient of a class's score for the image.

    spgraph grad model.onnx --wrt input --of logits -o grad.onnx
    python saliency.py grad.onnx image.npy -o map.pgm [--label 3]

`image.npy` holds one prepared image, 1 × channels × height × width. The map is the largest absolute gradient over the channels, as a grey picture.
"""
import argparse
import numpy as np, onnxruntime as ort

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model"), parser.add_argument("image"), parser.add_argument("-o", "--output", required=True)
parser.add_argument("--label", type=int, help="the class [default: the likeliest]")
options = parser.parse_args()

session = ort.InferenceSession(options.model, providers=["CPUExecutionProvider"])
image_port, cotangent_port = session.get_inputs()
scores_port, gradient_port = session.get_outputs()
image = np.load(options.image).astype(np.float32)
if image.ndim != 4 or len(image) != 1:
    parser.error(f"{options.image} holds an array of shape {image.shape}; it must be 1 × channels × height × width")


def product(weights):
    return session.run([scores_port.name, gradient_port.name], {image_port.name: image, cotangent_port.name: weights})


# The cotangent says which scores count, and how much: here one class alone.
scores, _ = product(np.zeros((1, scores_port.shape[-1]), np.float32))
label = options.label if options.label is not None else int(scores.argmax())
_, gradient = product(np.eye(scores.shape[-1], dtype=np.float32)[[label]])
saliency = np.abs(gradient[0]).max(axis=0)
grey = (255 * saliency / max(saliency.max(), 1e-30)).astype(np.uint8)
with open(options.output, "wb") as file:
    file.write(b"P5\n%d %d\n255\n" % grey.shape[::-1] + grey.tobytes())
print(f"class {label}, score {scores[0, label]:.3f}; the most important pixel is at row %d, column %d" % np.unravel_index(saliency.argmax(), saliency.shape))
