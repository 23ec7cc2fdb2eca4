"""ShuffleNetV2 1.0 x (Ma et al., arXiv 1807.11164), untrained: channels split, transformed by a half, and shuffled."""

from __future__ import annotations

import keras
from nq_tflite_models.nets.shufflenet import shuffled

STEM, HEAD = 24, 1024
#: Channels and units of each stage.
STAGES = ((116, 4), (232, 8), (464, 4))


def untrained_shufflenet_v2(side: int = 224) -> keras.Model:
    """Builds it: float32 [N, side, side, 3] to logits [N, 1000], with SAME padding.

    Example:
      untrained_shufflenet_v2().output_shape  # (None, 1000)
    """
    image = keras.Input((side, side, 3), name="image")
    x = _relu(_conv(image, STEM, 3, 2, "stem"), "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="max_pool")(x)
    for stage, (channels, units) in enumerate(STAGES):
        x = _halving(x, channels, f"stage_{stage}_0")
        for unit in range(1, units):
            x = _unit(x, f"stage_{stage}_{unit}")
    x = _relu(_conv(x, HEAD, 1, 1, "head"), "head")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(1000, name="logits")(x), name="shufflenet_v2")


def _unit(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    half = x.shape[-1] // 2
    y = _branch(x[..., half:], half, 1, name)
    return shuffled(keras.layers.Concatenate(name=name)([x[..., :half], y]), 2)


def _halving(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    """A unit that halves height and width; both branches read all channels."""
    shortcut = _depthwise(x, 2, f"{name}_shortcut_depthwise")
    shortcut = _relu(_conv(shortcut, channels // 2, 1, 1, f"{name}_shortcut"), f"{name}_shortcut")
    y = _branch(x, channels // 2, 2, name)
    return shuffled(keras.layers.Concatenate(name=name)([shortcut, y]), 2)


def _branch(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    x = _relu(_conv(x, channels, 1, 1, f"{name}_in"), f"{name}_in")
    x = _depthwise(x, stride, f"{name}_depthwise")
    return _relu(_conv(x, channels, 1, 1, f"{name}_out"), f"{name}_out")


def _conv(x: keras.KerasTensor, channels: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(name=f"{name}_bn")(x)


def _depthwise(x: keras.KerasTensor, stride: int, name: str) -> keras.KerasTensor:
    x = keras.layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(name=f"{name}_bn")(x)


def _relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.ReLU(name=f"{name}_relu")(x)
