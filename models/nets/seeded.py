"""Seeded, plausible weights and inputs for nets that nobody trained: latency and memory do not ask what a net knows.

Kernels come from NumPy, so the same seed gives the same ones on every machine. `settle_batch_norms` then runs the net
once, as training would have: what it sets is the same on one machine, and agrees between machines up to float rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
#: Tokens of the models that take token numbers.
VOCABULARY = 500


def set_seeded_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Fills every layer of a model, in place, and returns it.

    Kernels have He's variance and a spread of scales between their output channels, biases and normalization
    parameters are small and uneven. Layers are filled in the order of `model.layers`, those of nested models included.

    Example:
      set_seeded_weights(keras.applications.MobileNetV2(weights=None), seed=1)
    """
    rng = np.random.default_rng(seed)
    for layer in _leaves(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(_batch_norm_weights(rng, layer))
        elif isinstance(layer, keras.layers.LayerNormalization):
            layer.set_weights(_layer_norm_weights(rng, layer.weights[0].shape[0]))
        elif layer.trainable_weights:
            # A depthwise kernel is [H, W, C, 1]: its channels are on axis 2, and they are not summed over.
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            layer.set_weights([_random(rng, weight.shape, 2 if depthwise else -1) for weight in layer.weights])
    return model


def settle_batch_norms(model: keras.Model, inputs: Float32) -> keras.Model:
    """Sets the moments of every batch normalization to those of its own input, in place, and returns the model.

    Without it the scales of a deep untrained net run away from layer to layer, and its gates saturate. Dropout is off
    meanwhile: it would make the moments random.

    Args:
      model: any model; one without batch normalization is left as it is.
      inputs: float32 [N, ...], a few inputs as the model expects them.

    Example:
      settle_batch_norms(model, seeded_inputs(model.input_shape, 4))
    """
    layers = list(_leaves(model))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return model
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    settings = [(layer, "momentum", layer.momentum) for layer in norms]
    settings += [(layer, "rate", layer.rate) for layer in dropouts]
    for layer, name, _ in settings:
        setattr(layer, name, 0.0)
    model(inputs, training=True)
    for layer, name, value in settings:
        setattr(layer, name, value)
    return model


def seeded_inputs(shape: tuple[int | None, ...], count: int, seed: int = 0) -> Float32:
    """Images of blotches on noise, each of its own brightness and contrast: float32 [count, *shape[1:]], about [-1, 1].

    Example:
      seeded_inputs((None, 49, 10, 1), 3).shape  # (3, 49, 10, 1)
    """
    rng = np.random.default_rng([seed, count])
    _, height, width, channels = (int(size or 1) for size in shape)
    images = rng.normal(0.0, 0.2, (count, height, width, channels))
    for cells in (4, 16):
        blotches = rng.normal(0.0, 0.4, (count, cells, cells, channels))
        rows, columns = np.arange(height) * cells // height, np.arange(width) * cells // width
        images += blotches[:, rows[:, None], columns[None, :]]
    contrast, brightness = rng.uniform(0.3, 1.0, (count, 1, 1, 1)), rng.normal(0.0, 0.2, (count, 1, 1, 1))
    return np.asarray(np.clip(contrast * images + brightness, -1.0, 1.0), np.float32)


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def _random(rng: np.random.Generator, shape: tuple[int, ...], channel_axis: int) -> Float32:
    """A bias (rank 1), or a kernel of He's variance with a spread of scales between its output channels."""
    if len(shape) == 1:
        return rng.normal(0.0, 0.1, shape).astype(np.float32)
    channels = shape[channel_axis]
    spread_shape = [1] * len(shape)
    spread_shape[channel_axis] = channels
    spread = np.exp2(rng.uniform(-1.0, 1.0, spread_shape))
    fan_in = int(np.prod(shape)) // channels
    kernel = rng.normal(0.0, np.sqrt(2.0 / fan_in), shape) * spread
    return np.asarray(kernel, np.float32)


def _batch_norm_weights(rng: np.random.Generator, norm: keras.layers.BatchNormalization) -> list[npt.NDArray[Any]]:
    channels = norm.weights[0].shape[0]
    gamma, variance = rng.uniform(0.5, 1.5, channels), rng.uniform(0.5, 2.0, channels)
    beta, mean = rng.normal(0.0, 0.1, channels), rng.normal(0.0, 0.2, channels)
    used = [*([gamma] if norm.scale else []), *([beta] if norm.center else []), mean, variance]
    return [values.astype(np.float32) for values in used]


def _layer_norm_weights(rng: np.random.Generator, channels: int) -> list[npt.NDArray[Any]]:
    return [rng.uniform(0.5, 1.5, channels).astype(np.float32), rng.normal(0.0, 0.1, channels).astype(np.float32)]


def model_inputs(model: keras.Model, count: int, seed: int = 0) -> list[npt.NDArray[Any]]:
    """Inputs that a model may see, one array [count, ...] for each of its inputs (or for its `input_spec`).

    Images (rank 4) are blotches on noise, other float32 inputs are normal, integers count from 0 to below
    `VOCABULARY`.

    Example:
      [array.shape for array in model_inputs(build_family("vit"), 3)]  # [(3, 32, 32, 3)]
    """
    rng = np.random.default_rng([seed, count])
    arrays: list[npt.NDArray[Any]] = []
    for tensor in getattr(model, "inputs", None) or [model.input_spec]:
        shape, dtype = tuple(tensor.shape), np.dtype(tensor.dtype or np.float32)
        if dtype.kind in "iu":
            arrays.append(rng.integers(0, VOCABULARY, (count, *shape[1:])).astype(dtype))
        elif len(shape) == 4:
            arrays.append(seeded_inputs(shape, count, seed).astype(dtype))
        else:
            arrays.append(rng.normal(0.0, 1.0, (count, *shape[1:])).astype(dtype))
    return arrays
