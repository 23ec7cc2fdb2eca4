"""A small ShuffleNet (arXiv 1707.01083), untrained: grouped convolutions, and channels shuffled between them."""

from __future__ import annotations

import keras

GROUPS, CHANNELS = 4, 128


def shufflenet(side: int = 32) -> keras.Model:
    """Builds a stem and two units: float32 [N, side, side, 3] to logits [N, 10].

    Example:
      shufflenet().output_shape  # (None, 10)
    """
    image = keras.Input((side, side, 3), name="image")
    x = keras.layers.Conv2D(CHANNELS, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = _norm(x, "stem", activation=True)
    for index in range(2):
        x = _unit(x, f"unit_{index}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(10, name="logits")(x), name="shufflenet")


def _unit(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    shortcut = x
    x = keras.layers.Conv2D(CHANNELS, 1, groups=GROUPS, use_bias=False, name=f"{name}_in")(x)
    x = shuffled(_norm(x, f"{name}_in", activation=True), GROUPS)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = _norm(x, f"{name}_depthwise")
    x = keras.layers.Conv2D(CHANNELS, 1, groups=GROUPS, use_bias=False, name=f"{name}_out")(x)
    return keras.layers.ReLU(name=name)(keras.layers.Add(name=f"{name}_add")([shortcut, _norm(x, f"{name}_out")]))


def shuffled(x: keras.KerasTensor, groups: int) -> keras.KerasTensor:
    """Channel k of group g becomes channel g of group k."""
    _, height, width, channels = x.shape
    x = keras.layers.Reshape((height, width, groups, channels // groups))(x)
    return keras.layers.Reshape((height, width, channels))(keras.layers.Permute((1, 2, 4, 3))(x))


def _norm(x: keras.KerasTensor, name: str, *, activation: bool = False) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if activation else x
