"""MobileNetV2 with torchvision's ImageNet weights, as a Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from nq_tflite_models.weights.archives import MOBILENET_V2, weight_bytes
from nq_tflite_models.weights.state_dict import read_state_dict
from nq_tflite_models.weights.torch_layers import set_batch_norm, set_conv, set_dense, set_depthwise

from nq_tflite.measure.preprocessing import pixel_preprocessing

MOBILENET_V2_PREPROCESSING = pixel_preprocessing("mobilenet_v2", 224, 224)
"""torchvision's mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225), times 255."""

BATCH_NORM_EPSILON = 1e-5
NUM_BLOCKS = 17


def mobilenet_v2() -> keras.Model:
    """Obtains the weights and builds MobileNetV2 1.0.

    Returns:
      A model from float32 [N, 224, 224, 3], prepared by `MOBILENET_V2_PREPROCESSING`, to float32 logits [N, 1000] (no
      softmax) in the order of `imagenet_classes()`.

    Raises:
      ModelSourceError: the weights could not be obtained or read.

    Example:
      model = mobilenet_v2()
      logits = model.predict(MOBILENET_V2_PREPROCESSING.apply("cat.jpg")[None])
    """
    weights = read_state_dict(weight_bytes(MOBILENET_V2))
    model = untrained_mobilenet_v2()
    _set_weights(model, weights)
    return model


def untrained_mobilenet_v2() -> keras.Model:
    """The same architecture with random weights, for tests that need its graph and no network.

    keras.applications has it but for two things: Keras pads stride 2 with SAME, PyTorch by one row on each side, and
    the epsilons of batch normalization differ.

    Example:
      untrained_mobilenet_v2().output_shape  # (None, 1000)
    """
    original = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    return keras.models.clone_model(original, clone_function=_as_torch, call_function=_call_padded)


def _as_torch(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        config["epsilon"] = BATCH_NORM_EPSILON
    elif isinstance(layer, keras.layers.ZeroPadding2D):
        config["padding"] = (1, 1)
    elif layer.name == "Conv1":
        config["padding"] = "valid"
    return type(layer).from_config(config)


def _call_padded(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
    if layer.name == "Conv1":
        args = (keras.layers.ZeroPadding2D((1, 1), name="Conv1_pad")(args[0]), *args[1:])
    return layer(*args, **kwargs)


def _set_weights(model: keras.Model, weights: Mapping[str, npt.NDArray[np.generic]]) -> None:
    set_conv(model.get_layer("Conv1"), weights, "features.0.0")
    set_batch_norm(model.get_layer("bn_Conv1"), weights, "features.0.1")
    for index in range(NUM_BLOCKS):
        _set_block(model, weights, index)
    set_conv(model.get_layer("Conv_1"), weights, "features.18.0")
    set_batch_norm(model.get_layer("Conv_1_bn"), weights, "features.18.1")
    set_dense(model.get_layer("predictions"), weights, "classifier.1")


def _set_block(model: keras.Model, weights: Mapping[str, npt.NDArray[np.generic]], index: int) -> None:
    """Sets one inverted residual: expand (absent in block 0), depthwise, project, each with its batch norm."""
    ours = f"block_{index}" if index else "expanded_conv"
    theirs = f"features.{index + 1}.conv"
    step = 0
    if index:
        set_conv(model.get_layer(f"{ours}_expand"), weights, f"{theirs}.0.0")
        set_batch_norm(model.get_layer(f"{ours}_expand_BN"), weights, f"{theirs}.0.1")
        step = 1
    set_depthwise(model.get_layer(f"{ours}_depthwise"), weights, f"{theirs}.{step}.0")
    set_batch_norm(model.get_layer(f"{ours}_depthwise_BN"), weights, f"{theirs}.{step}.1")
    set_conv(model.get_layer(f"{ours}_project"), weights, f"{theirs}.{step + 1}")
    set_batch_norm(model.get_layer(f"{ours}_project_BN"), weights, f"{theirs}.{step + 2}")
