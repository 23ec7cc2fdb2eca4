"""The CIFAR-10 ResNets of He et al. (arXiv 1512.03385, section 4.2), with trained weights or seeded ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt
from nq_tflite_models.nets.seeded import seeded_inputs, set_seeded_weights, settle_batch_norms
from nq_tflite_models.weights.state_dict import read_state_dict
from nq_tflite_models.weights.torch_layers import set_batch_norm, set_conv, set_dense

NUM_CLASSES = 10
#: Channels of the three stages.
STAGES = (16, 32, 64)
#: Layers of the published nets: 6 n + 2, with n blocks in each stage.
DEPTHS = (20, 32, 44, 56)
BATCH_NORM_EPSILON = 1e-5
#: What torch.nn.DataParallel puts before every name.
_PARALLEL = "module."


def cifar_resnet(depth: int, weights: Path | None = None, seed: int = 0) -> keras.Model:
    """Builds a ResNet whose shortcuts have no weights (option A): where channels double, they take every second row
    and column and fill up with channels of zeros, a half on each side.

    Args:
      depth: of `DEPTHS`, or any other 6 n + 2.
      weights: a PyTorch state dict in the names of github.com/akamaster/pytorch_resnet_cifar10; seeded ones if None.
      seed: of seeded weights.

    Returns:
      A model from float32 [N, 32, 32, 3], (x / 255 - mean) / std as the pixel range "imagenet", to logits [N, 10].

    Raises:
      ModelSourceError: the file is no such state dict, or that of another depth.
      ValueError: there is no such depth.

    Example:
      cifar_resnet(20, Path("resnet20-12fca82f.th")).count_params()  # 271690, and 1376 moments of batch norms
    """
    blocks, rest = divmod(depth - 2, 2 * len(STAGES))
    if rest or blocks < 1:
        raise ValueError(f"depth: expected 6 n + 2, got {depth}")
    model = _graph(depth, blocks)
    if weights is None:
        return settle_batch_norms(set_seeded_weights(model, seed), seeded_inputs(model.input_shape, 16, seed))
    _set_weights(model, read_state_dict(weights))
    return model


def _graph(depth: int, blocks: int) -> keras.Model:
    inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.ReLU(name="relu")(_conv(inputs, STAGES[0], 1, "conv1", "bn1"))
    for stage, channels in enumerate(STAGES, start=1):
        for block in range(blocks):
            x = _block(x, channels, stride=2 if stage > 1 and block == 0 else 1, name=f"layer{stage}.{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(NUM_CLASSES, name="linear")(x)
    return keras.Model(inputs, logits, name=f"cifar_resnet{depth}")


def _block(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    shortcut = x
    if stride > 1:
        half = (channels - x.shape[-1]) // 2
        shortcut = keras.ops.pad(x[:, ::stride, ::stride, :], ((0, 0), (0, 0), (0, 0), (half, half)))
    x = keras.layers.ReLU(name=f"{name}.relu1")(_conv(x, channels, stride, f"{name}.conv1", f"{name}.bn1"))
    x = _conv(x, channels, 1, f"{name}.conv2", f"{name}.bn2")
    return keras.layers.ReLU(name=f"{name}.relu2")(keras.layers.Add(name=f"{name}.add")([x, shortcut]))


def _conv(x: keras.KerasTensor, channels: int, stride: int, name: str, norm: str) -> keras.KerasTensor:
    """A 3 x 3 convolution with its batch norm. SAME would pad strided ones at the bottom and right alone."""
    if stride > 1:
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    x = keras.layers.Conv2D(channels, 3, stride, padding=padding, use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=norm)(x)


def _set_weights(model: keras.Model, stored: Mapping[str, npt.NDArray[Any]]) -> None:
    """Layers have the state dict's names."""
    weights = {name.removeprefix(_PARALLEL): array for name, array in stored.items()}
    setters = {
        keras.layers.Conv2D: set_conv,
        keras.layers.BatchNormalization: set_batch_norm,
        keras.layers.Dense: set_dense,
    }
    for layer in model.layers:
        if layer.weights:
            setters[type(layer)](layer, weights, layer.name)
