"""EfficientNet-Lite0 with ImageNet weights, as a Keras model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from nq_tflite_models.weights.archives import EFFICIENTNET_LITE0, weight_bytes
from nq_tflite_models.weights.state_dict import read_state_dict
from nq_tflite_models.weights.torch_layers import set_batch_norm, set_conv, set_dense, set_depthwise

from nq_tflite.measure.preprocessing import pixel_preprocessing

EFFICIENTNET_LITE0_PREPROCESSING = pixel_preprocessing("efficientnet_lite0", 224, 224)
"""As the reference implementation: (pixel - 127) / 128."""

BATCH_NORM_EPSILON = 1e-3
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
NUM_CLASSES = 1000
DROPOUT = 0.2


class _Stage(NamedTuple):
    """Inverted residuals of one output resolution; only the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0() -> keras.Model:
    """Obtains the weights and builds EfficientNet-Lite0.

    Returns:
      A model from float32 [N, 224, 224, 3], prepared by `EFFICIENTNET_LITE0_PREPROCESSING`, to float32 logits
      [N, 1000] (no softmax) in the order of `imagenet_classes()`.

    Raises:
      ModelSourceError: the weights could not be obtained or read.

    Example:
      model = efficientnet_lite0()
      logits = model.predict(EFFICIENTNET_LITE0_PREPROCESSING.apply("cat.jpg")[None])
    """
    weights = read_state_dict(weight_bytes(EFFICIENTNET_LITE0))
    model = untrained_efficientnet_lite0()
    _set_weights(model, weights)
    return model


def untrained_efficientnet_lite0() -> keras.Model:
    """The same architecture with random weights, for tests that need its graph and no network.

    The Lite variants have neither squeeze-and-excitation nor swish, and their stem and head are never widened.

    Example:
      untrained_efficientnet_lite0().output_shape  # (None, 1000)
    """
    inputs = keras.Input((224, 224, 3), name="image")
    x = _conv(inputs, STEM_CHANNELS, kernel=3, stride=2, name="stem")
    for index, stage in enumerate(_blocks()):
        x = _block(x, stage, f"block_{index}")
    x = _conv(x, HEAD_CHANNELS, kernel=1, stride=1, name="head")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(DROPOUT, name="dropout")(x)
    logits = keras.layers.Dense(NUM_CLASSES, name="logits")(x)
    return keras.Model(inputs, logits, name="efficientnet_lite0")


def _blocks() -> Iterator[_Stage]:
    """Each block as a stage of one repeat."""
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            yield stage._replace(repeats=1, stride=1 if repeat else stage.stride)


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn")(x)


def _conv(x: keras.KerasTensor, channels: int, *, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    """Convolution, batch norm, ReLU6. SAME padding, as TensorFlow trained the weights."""
    x = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(_batch_norm(x, name))


def _block(inputs: keras.KerasTensor, stage: _Stage, name: str) -> keras.KerasTensor:
    """Expand (unless the expansion is 1), depthwise, project, and the shortcut where the shapes agree."""
    in_channels = inputs.shape[-1]
    x = inputs
    if stage.expansion > 1:
        x = _conv(x, in_channels * stage.expansion, kernel=1, stride=1, name=f"{name}_expand")
    depthwise = keras.layers.DepthwiseConv2D(
        stage.kernel, stage.stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )
    x = keras.layers.ReLU(6.0, name=f"{name}_depthwise_relu")(_batch_norm(depthwise(x), f"{name}_depthwise"))
    x = keras.layers.Conv2D(stage.channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _batch_norm(x, f"{name}_project")
    if stage.stride == 1 and in_channels == stage.channels:
        x = keras.layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _set_weights(model: keras.Model, weights: Mapping[str, npt.NDArray[np.generic]]) -> None:
    set_conv(model.get_layer("stem_conv"), weights, "_conv_stem")
    set_batch_norm(model.get_layer("stem_bn"), weights, "_bn0")
    for index, stage in enumerate(_blocks()):
        _set_block(model, weights, index, stage)
    set_conv(model.get_layer("head_conv"), weights, "_conv_head")
    set_batch_norm(model.get_layer("head_bn"), weights, "_bn1")
    set_dense(model.get_layer("logits"), weights, "_fc")


def _set_block(model: keras.Model, weights: Mapping[str, npt.NDArray[np.generic]], index: int, stage: _Stage) -> None:
    ours, theirs = f"block_{index}", f"_blocks.{index}"
    if stage.expansion > 1:
        set_conv(model.get_layer(f"{ours}_expand_conv"), weights, f"{theirs}._expand_conv")
        set_batch_norm(model.get_layer(f"{ours}_expand_bn"), weights, f"{theirs}._bn0")
    set_depthwise(model.get_layer(f"{ours}_depthwise_conv"), weights, f"{theirs}._depthwise_conv")
    set_batch_norm(model.get_layer(f"{ours}_depthwise_bn"), weights, f"{theirs}._bn1")
    set_conv(model.get_layer(f"{ours}_project_conv"), weights, f"{theirs}._project_conv")
    set_batch_norm(model.get_layer(f"{ours}_project_bn"), weights, f"{theirs}._bn2")
