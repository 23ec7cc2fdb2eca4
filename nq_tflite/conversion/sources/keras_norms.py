"""The batch norms of a Keras model: what it knows of the data that it was trained on.

Nothing here imports Keras: a model brings its own, Keras 3 or tf_keras.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.keras_models import KerasLayer, KerasModel, KerasTensor, all_layers, flat, is_a
from nq_tflite.conversion.sources.moments import FoldedNorm, Moments

#: Layers that a converter folds a batch norm into, and which of their weights takes it.
_FOLDING = {"Conv1D": 0, "Conv2D": 0, "DepthwiseConv2D": 0, "SeparableConv2D": 1, "Dense": 0}


def folded_norms_of(source: KerasModel) -> list[FoldedNorm]:
    """The batch norms of a model, each as a converter folds it; `keras_export.folded_norms` says more."""
    norms = []
    calls = _submodel_calls(source)
    for norm in all_layers(source):
        if not is_a(norm, "BatchNormalization") or not norm.built:
            continue
        factors, moving_mean, moments = _norm_parameters(norm)
        norms.append(FoldedNorm(factors[:, None], Moments(moving_mean * factors, moments.variance)))
        for tensor in (each for node in norm._inbound_nodes for each in flat(node.input_tensors)):
            for layer in _producers(tensor, calls):
                kernel = _folding_kernel(layer)
                if kernel is not None and len(kernel) == len(factors):
                    norms.append(FoldedNorm(kernel * factors[:, None], moments))
    return norms


def _submodel_calls(model: KerasModel) -> dict[int, list[KerasTensor]]:
    """For the input layer of each nested model (by id), the tensors that the model is called with."""
    calls: dict[int, list[KerasTensor]] = {}
    for layer in all_layers(model):
        if not is_a(layer, "Functional", "Sequential"):
            continue
        entrances = [tensor._keras_history[0] for tensor in flat(layer.inputs)]
        for node in layer._inbound_nodes:
            for entrance, tensor in zip(entrances, flat(node.input_tensors), strict=False):
                calls.setdefault(id(entrance), []).append(tensor)
    return calls


def _producers(tensor: KerasTensor, calls: dict[int, list[KerasTensor]]) -> Iterator[KerasLayer]:
    """The layers that a symbolic tensor may come from, across the borders of nested models."""
    if not hasattr(tensor, "_keras_history"):
        return
    layer, _, index = tensor._keras_history
    if is_a(layer, "Functional", "Sequential"):
        yield from _producers(flat(layer.outputs)[index], calls)
    elif id(layer) in calls:
        for outer in calls[id(layer)]:
            yield from _producers(outer, calls)
    else:
        yield layer


def _folding_kernel(layer: KerasLayer) -> NDArray[np.float32] | None:
    """The weight [channels, depth] of a layer that a batch norm folds into, as TFLite orders it; None for others."""
    names = [base.__name__ for base in type(layer).__mro__ if base.__name__ in _FOLDING]
    if not names or getattr(layer.activation, "__name__", "linear") != "linear":
        return None
    kernel = np.asarray(layer.get_weights()[_FOLDING[names[0]]], np.float32)
    # A depthwise kernel is [height, width, inputs, multiplier]; all others end in their outputs.
    channels = kernel.shape[-1] * (kernel.shape[-2] if names[0] == "DepthwiseConv2D" else 1)
    return np.ascontiguousarray(kernel.reshape(-1, channels).T)


def _norm_parameters(norm: KerasLayer) -> tuple[NDArray[np.float32], NDArray[np.float64], Moments]:
    """Of a batch norm: its factors float32 [channels], its moving mean, and the moments of its output."""
    *scale_and_shift, mean, variance = (np.asarray(values, np.float64) for values in norm.get_weights())
    gamma = scale_and_shift.pop(0) if norm.scale else np.ones_like(mean)
    beta = scale_and_shift.pop(0) if norm.center else np.zeros_like(mean)
    factors = gamma / np.sqrt(variance + norm.epsilon)
    return factors.astype(np.float32), mean, Moments(beta, np.square(factors) * variance)
