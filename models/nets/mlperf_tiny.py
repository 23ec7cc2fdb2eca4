"""Three reference models of MLPerf Tiny (arXiv 2106.07597), without their softmax: trained weights from a file, or
seeded ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
from nq_tflite_models.nets.seeded import seeded_inputs, set_seeded_weights, settle_batch_norms
from nq_tflite_models.weights.keras_file import set_from_h5, set_from_tflite

#: Channels of MobileNetV1's depthwise separable blocks at a width of 0.25, and which of them halve the sides.
_VWW_CHANNELS = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
_VWW_STRIDED = frozenset({1, 3, 5, 11})


def mlperf_resnet8(weights: Path | None = None, seed: int = 0) -> keras.Model:
    """The image classifier.

    Args:
      weights: `pretrainedResnet.h5` of github.com/mlcommons/tiny; seeded weights if None.
      seed: of seeded weights.

    Returns:
      A model from float32 [N, 32, 32, 3], pixels of 0..255, to logits [N, 10] of CIFAR-10's classes.

    Raises:
      ModelSourceError: the file cannot be read, or is of another net.

    Example:
      mlperf_resnet8().output_shape  # (None, 10)
    """
    inputs = keras.Input((32, 32, 3), name="image")
    x = _relu(_norm(keras.layers.Conv2D(16, 3, padding="same")(inputs)))
    for channels in (16, 32, 64):
        stride = 1 if channels == 16 else 2
        y = _relu(_norm(keras.layers.Conv2D(channels, 3, stride, padding="same")(x)))
        y = keras.layers.Conv2D(channels, 3, padding="same")(y)
        shortcut = x if stride == 1 else keras.layers.Conv2D(channels, 1, stride, padding="same")(x)
        x = _relu(keras.layers.Add()([shortcut, _norm(y)]))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(x))
    return _weighted(inputs, keras.layers.Dense(10)(x), "mlperf_resnet8", weights, seed, set_from_h5)


def mlperf_vww(weights: Path | None = None, seed: int = 0) -> keras.Model:
    """Visual wake words: whether a person is in the picture, by MobileNetV1 at a width of 0.25.

    Args:
      weights: `vww_96.h5` of github.com/mlcommons/tiny; seeded weights if None.
      seed: of seeded weights.

    Returns:
      A model from float32 [N, 96, 96, 3], pixels of 0..1, to logits [N, 2] (none, a person).

    Raises:
      ModelSourceError: as `mlperf_resnet8`.

    Example:
      mlperf_vww().output_shape  # (None, 2)
    """
    inputs = keras.Input((96, 96, 3), name="image")
    x = _relu(_norm(keras.layers.Conv2D(8, 3, 2, padding="same")(inputs)))
    for block, channels in enumerate(_VWW_CHANNELS):
        stride = 2 if block in _VWW_STRIDED else 1
        x = _relu(_norm(keras.layers.DepthwiseConv2D(3, stride, padding="same")(x)))
        x = _relu(_norm(keras.layers.Conv2D(channels, 1, padding="same")(x)))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(3)(x))
    return _weighted(inputs, keras.layers.Dense(2)(x), "mlperf_vww", weights, seed, set_from_h5)


def mlperf_kws(weights: Path | None = None, seed: int = 0) -> keras.Model:
    """The keyword spotter, a DS-CNN whose batch norms have been folded into its layers.

    Args:
      weights: `kws_ref_model_float32.tflite` of github.com/mlcommons/tiny; seeded weights if None. That file has the
        kernels of its convolutions in eight bits: what stock INT8 loses of them is lost before.
      seed: of seeded weights.

    Returns:
      A model from float32 [N, 49, 10, 1], 10 MFCCs of 49 frames, to logits [N, 12].

    Raises:
      ModelSourceError: as `mlperf_resnet8`.

    Example:
      mlperf_kws().output_shape  # (None, 12)
    """
    inputs = keras.Input((49, 10, 1), name="mfcc")
    x = _relu(keras.layers.Conv2D(64, (10, 4), 2, padding="same")(inputs))
    for _ in range(4):
        x = _relu(keras.layers.DepthwiseConv2D(3, padding="same")(x))
        x = _relu(keras.layers.Conv2D(64, 1)(x))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D((25, 5))(x))
    return _weighted(inputs, keras.layers.Dense(12)(x), "mlperf_kws", weights, seed, set_from_tflite)


def _weighted(
    inputs: keras.KerasTensor,
    logits: keras.KerasTensor,
    name: str,
    weights: Path | None,
    seed: int,
    set_weights: Callable[[keras.Model, Path], None],
) -> keras.Model:
    model = keras.Model(inputs, logits, name=name)
    if weights is not None:
        set_weights(model, weights)
        return model
    return settle_batch_norms(set_seeded_weights(model, seed), seeded_inputs(model.input_shape, 16, seed))


def _norm(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.BatchNormalization()(x)


def _relu(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.ReLU()(x)
