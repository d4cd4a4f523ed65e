"""A small Keras classifier, exported through tf2onnx: kernels behind Transpose nodes, NHWC, a softmax at the end. For `files.py`.

    python keras_export.py OUT.onnx      # in an environment with tensorflow-cpu==2.15.1, tf2onnx==1.16.1, onnx==1.16.2, numpy<2
"""
import sys

import tensorflow as tf
import tf2onnx
from tensorflow.keras import layers


def network():
    x = image = layers.Input((32, 32, 3), name="image")
    for channels in (8, 16):
        x = layers.Conv2D(channels, 3, strides=2, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        shortcut, x = x, layers.SeparableConv2D(channels, 3, padding="same", activation="swish")(x)
        x = layers.Add()([shortcut, x])
    x = layers.MaxPooling2D()(x)
    x = layers.Dense(24, activation="relu")(layers.Flatten()(x))
    return tf.keras.Model(image, layers.Dense(5, activation="softmax")(layers.Dropout(0.2)(x)))


if __name__ == "__main__":
    tf.keras.utils.set_random_seed(0)
    model = network()
    for weight in model.weights:  # no gain of 0, no tensor of one number
        weight.assign(weight + 0.1 * tf.random.uniform(weight.shape))
    tf2onnx.convert.from_keras(model, opset=15, output_path=sys.argv[1])
