"""Small Keras models with seeded, plausible weights, for tests and examples. Nothing here is trained.

The same seed gives the same weights on every machine: they come from NumPy, not from Keras' initializers. Channel
counts are odd on purpose (7, 17, 33), so that packed rows end in the middle of a byte.
"""

from __future__ import annotations

import keras
from nq_tflite_models.nets.seeded import set_seeded_weights


def dense_net(seed: int = 0) -> keras.Model:
    """Three dense layers: float32 [N, 33] -> 17 -> 33 -> [N, 7], ReLU between them.

    Example:
      dense_net(seed=1).output_shape  # (None, 7)
    """
    inputs = keras.Input((33,), name="features")
    x = keras.layers.Dense(17, activation="relu", name="dense_0")(inputs)
    x = keras.layers.Dense(33, activation="relu", name="dense_1")(x)
    x = keras.layers.Dense(7, name="logits")(x)
    return set_seeded_weights(keras.Model(inputs, x, name="dense_net"), seed)


def mixed_net(seed: int = 0, width: int = 1) -> keras.Model:
    """Every kind of layer that is quantized: float32 [N, 16, 16, 3] -> logits [N, 10 * width].

    3x3 convolution with batch norm, strided 3x3 with bias, depthwise with batch norm, 1x1 with a shortcut, strided
    depthwise, 1x1, and a dense layer; 7, 17 and 33 channels times `width`.

    Example:
      mixed_net(seed=1).output_shape  # (None, 10)
    """
    inputs = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(7 * width, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = keras.layers.ReLU(6.0, name="conv_relu")(keras.layers.BatchNormalization(name="conv_bn")(x))
    x = keras.layers.Conv2D(17 * width, 3, strides=2, padding="same", activation="relu", name="strided_conv")(x)
    shortcut = x
    x = _depthwise(x, stride=1, name="depthwise")
    x = keras.layers.Conv2D(17 * width, 1, use_bias=False, name="pointwise")(x)
    x = keras.layers.BatchNormalization(name="pointwise_bn")(x)
    x = keras.layers.Add(name="add")([shortcut, x])
    x = _depthwise(x, stride=2, name="strided_depthwise")
    x = keras.layers.Conv2D(33 * width, 1, activation="relu", name="wide_pointwise")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(10 * width, name="logits")(x)
    return set_seeded_weights(keras.Model(inputs, x, name="mixed_net"), seed)


def two_input_net(seed: int = 0) -> keras.Model:
    """Two inputs, `image` float32 [N, 8, 8, 3] and `features` float32 [N, 9], to one output [N, 5].

    Example:
      [tensor.name for tensor in two_input_net(seed=1).inputs]  # ["image", "features"]
    """
    image = keras.Input((8, 8, 3), name="image")
    features = keras.Input((9,), name="features")
    x = keras.layers.Conv2D(7, 3, padding="same", activation="relu", name="conv")(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    y = keras.layers.Dense(17, activation="relu", name="features_dense")(features)
    x = keras.layers.Concatenate(name="concatenate")([x, y])
    x = keras.layers.Dense(5, name="logits")(x)
    return set_seeded_weights(keras.Model([image, features], x, name="two_input_net"), seed)


def wide_dense(seed: int = 0) -> keras.Model:
    """Two dense layers with enough weights for bytes to be worth comparing: float32 [N, 512] -> 513 -> [N, 10].

    Example:
      wide_dense(seed=1).output_shape  # (None, 10)
    """
    inputs = keras.Input((512,), name="features")
    x = keras.layers.Dense(513, activation="relu", name="wide")(inputs)
    x = keras.layers.Dense(10, name="logits")(x)
    return set_seeded_weights(keras.Model(inputs, x, name="wide_dense"), seed)


def _depthwise(x: keras.KerasTensor, *, stride: int, name: str) -> keras.KerasTensor:
    x = keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=name)(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(keras.layers.BatchNormalization(name=f"{name}_bn")(x))
