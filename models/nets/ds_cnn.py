"""DS-CNN, the keyword spotters of Zhang et al., "Hello Edge" (arXiv 1711.07128), untrained."""

from __future__ import annotations

from typing import Literal, NamedTuple

import keras
from nq_tflite_models.nets.seeded import seeded_inputs, set_seeded_weights, settle_batch_norms

NUM_KEYWORDS = 12


class _Size(NamedTuple):
    """Channels of every layer; strides of the first convolution and of each separable block."""

    channels: int
    stem_strides: tuple[int, int]
    block_strides: tuple[int, ...]


_SIZES = {
    "small": _Size(64, (2, 2), (1, 1, 1, 1)),
    "medium": _Size(172, (2, 1), (2, 1, 1, 1)),
    "large": _Size(276, (2, 1), (2, 1, 1, 1, 1)),
}


def ds_cnn(size: Literal["small", "medium", "large"] = "large", seed: int = 0) -> keras.Model:
    """Builds a DS-CNN with the paper's hyperparameters (its tables 5 and 10) and seeded weights.

    Returns:
      A model from float32 [N, 49, 10, 1], 10 MFCCs of 49 frames of 40 ms, to logits [N, 12].

    Raises:
      KeyError: no such size.

    Example:
      ds_cnn("small").output_shape  # (None, 12)
    """
    channels, stem_strides, block_strides = _SIZES[size]
    inputs = keras.Input((49, 10, 1), name="mfcc")
    x = keras.layers.Conv2D(channels, (10, 4), stem_strides, padding="same", use_bias=False, name="stem")(inputs)
    x = _norm_relu(x, "stem")
    for index, stride in enumerate(block_strides):
        x = keras.layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"depthwise_{index}")(x)
        x = _norm_relu(x, f"depthwise_{index}")
        x = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"pointwise_{index}")(x)
        x = _norm_relu(x, f"pointwise_{index}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(NUM_KEYWORDS, name="logits")(x)
    model = set_seeded_weights(keras.Model(inputs, logits, name=f"ds_cnn_{size}"), seed)
    return settle_batch_norms(model, seeded_inputs(model.input_shape, 8, seed))


def _norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.BatchNormalization(name=f"{name}_bn")(x))
