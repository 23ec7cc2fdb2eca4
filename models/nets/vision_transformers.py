"""ViT-B/16 (arXiv 2010.11929), DeiT-S (arXiv 2012.12877) and Swin-T (arXiv 2103.14030), untrained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from nq_tflite_models.nets.layer_norm import LayerNorm
from nq_tflite_models.nets.transformers import LearnedOffset, attention, rolled, whole, windows

#: Swin-T: blocks and attention heads of each stage, channels of the first.
SWIN_STAGES, SWIN_CHANNELS, WINDOW = ((2, 3), (2, 6), (6, 12), (2, 24)), 96, 7
#: What keeps tokens of other parts of the image apart; the paper's -100 would leave int8 scores no resolution.
_APART = -16.0


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class ClassToken(keras.layers.Layer):
    """Puts a learned token before those of an image."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the token."""
        self.token = self.add_weight(shape=(1, 1, input_shape[-1]), name="token")

    def call(self, inputs: Any) -> Any:
        """[N, tokens, channels] to [N, 1 + tokens, channels]."""
        token = keras.ops.broadcast_to(self.token, (keras.ops.shape(inputs)[0], 1, inputs.shape[-1]))
        return keras.ops.concatenate([token, inputs], axis=1)


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class WindowBias(keras.layers.Layer):
    """Adds a learned bias by the distance of two tokens, and keeps those apart that shifting has brought together.

    Args:
      grid, window: side of the image and of a window, in tokens.
      shift: by how many tokens the windows are shifted.
    """

    def __init__(self, grid: int, window: int, shift: int, **options: Any) -> None:
        super().__init__(**options)
        self.grid, self.window, self.shift = grid, window, shift

    def get_config(self) -> dict[str, Any]:
        """As Keras' layers."""
        return super().get_config() | {"grid": self.grid, "window": self.window, "shift": self.shift}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the table of biases."""
        self.table = self.add_weight(shape=((2 * self.window - 1) ** 2, input_shape[1]), name="table")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's. Keras takes scores times a number for a sparse tensor, and would try `call` with one."""
        return input_shape

    def call(self, inputs: Any) -> Any:
        """inputs [N * windows, heads, tokens, tokens], the same with the biases added."""
        _, heads, tokens, _ = inputs.shape
        bias = keras.ops.take(self.table, _distances(self.window), axis=0)
        bias = keras.ops.transpose(keras.ops.reshape(bias, (tokens, tokens, heads)), (2, 0, 1))
        count = (self.grid // self.window) ** 2
        if self.shift:
            bias = bias + _apart(self.grid, self.window, self.shift)[:, None]
            bias = keras.ops.reshape(bias, (count * heads, tokens, tokens))
            inputs = keras.ops.reshape(inputs, (-1, count * heads, tokens, tokens))
        return keras.ops.reshape(inputs + bias, (-1, heads, tokens, tokens))


def untrained_vit_b16(side: int = 224, blocks: int = 12) -> keras.Model:
    """Builds ViT-B/16: float32 [N, side, side, 3] to logits [N, 1000].

    Example:
      untrained_vit_b16(side=32, blocks=1).output_shape  # (None, 1000)
    """
    return _vit("vit_b16", 768, 12, side, blocks)


def untrained_deit_s(side: int = 224, blocks: int = 12) -> keras.Model:
    """Builds DeiT-S, a smaller ViT: float32 [N, side, side, 3] to logits [N, 1000].

    Example:
      untrained_deit_s(side=32, blocks=1).output_shape  # (None, 1000)
    """
    return _vit("deit_s", 384, 6, side, blocks)


def untrained_swin_t(side: int = 224) -> keras.Model:
    """Builds Swin-T: float32 [N, side, side, 3] to logits [N, 1000]; side is a multiple of 224.

    Example:
      untrained_swin_t().output_shape  # (None, 1000)
    """
    image = keras.Input((side, side, 3), name="image")
    x, grid = LayerNorm(epsilon=1e-5, name="patch_norm")(_patches(image, SWIN_CHANNELS, 4)), side // 4
    for stage, (blocks, heads) in enumerate(SWIN_STAGES):
        if stage:
            x, grid = _merged(x, grid, f"merge_{stage}"), grid // 2
        for block in range(blocks):
            shift = WINDOW // 2 if block % 2 and grid > WINDOW else 0
            x = _swin_block(x, grid, heads, shift, f"stage_{stage}_{block}")
    x = LayerNorm(epsilon=1e-5, name="norm")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(1000, name="logits")(x), name="swin_t")


def _vit(name: str, channels: int, heads: int, side: int, blocks: int) -> keras.Model:
    image = keras.Input((side, side, 3), name="image")
    x = LearnedOffset(name="positions")(ClassToken(name="class_token")(_patches(image, channels, 16)))
    for index in range(blocks):
        y = LayerNorm(epsilon=1e-6, name=f"block_{index}_norm_0")(x)
        x = keras.layers.Add(name=f"block_{index}_add_0")([x, attention(y, heads, f"block_{index}_attention")])
        x = _mlp(x, f"block_{index}")
    x = LayerNorm(epsilon=1e-6, name="norm")(x)[:, 0]
    return keras.Model(image, keras.layers.Dense(1000, name="logits")(x), name=name)


def _swin_block(x: keras.KerasTensor, grid: int, heads: int, shift: int, name: str) -> keras.KerasTensor:
    y = LayerNorm(epsilon=1e-5, name=f"{name}_norm_0")(x)
    y = windows(rolled(y, grid, -shift), grid, WINDOW)
    y = attention(y, heads, f"{name}_attention", WindowBias(grid, WINDOW, shift, name=f"{name}_bias"))
    y = rolled(whole(y, grid, WINDOW), grid, shift)
    return _mlp(keras.layers.Add(name=f"{name}_add_0")([x, y]), name)


def _mlp(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    channels = x.shape[-1]
    y = LayerNorm(epsilon=1e-6, name=f"{name}_norm_1")(x)
    y = keras.layers.Dense(4 * channels, activation="gelu", name=f"{name}_hidden")(y)
    return keras.layers.Add(name=f"{name}_add_1")([x, keras.layers.Dense(channels, name=f"{name}_project")(y)])


def _patches(image: keras.KerasTensor, channels: int, patch: int) -> keras.KerasTensor:
    x = keras.layers.Conv2D(channels, patch, strides=patch, name="patches")(image)
    return keras.layers.Reshape((x.shape[1] * x.shape[2], channels))(x)


def _merged(x: keras.KerasTensor, grid: int, name: str) -> keras.KerasTensor:
    """Every 2 x 2 tokens as one of twice the channels."""
    half, channels = grid // 2, x.shape[-1]
    x = keras.layers.Reshape((half, 2, half, 2 * channels))(x)
    x = keras.layers.Reshape((half * half, 4 * channels))(keras.layers.Permute((1, 3, 2, 4))(x))
    x = LayerNorm(epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.Dense(2 * channels, use_bias=False, name=name)(x)


def _distances(window: int) -> Any:
    """For each pair of a window's tokens the row of the table: int32 [tokens * tokens]."""
    rows, columns = (each.reshape(-1) for each in np.indices((window, window)))
    down, right = rows[:, None] - rows + window - 1, columns[:, None] - columns + window - 1
    return (down * (2 * window - 1) + right).reshape(-1).astype(np.int32)


def _apart(grid: int, window: int, shift: int) -> Any:
    """What pairs of tokens get that shifting alone brought into one window: float32 [windows, tokens, tokens]."""
    part = np.searchsorted([grid - window, grid - shift], np.arange(grid), side="right")
    parts = 3 * part[:, None] + part
    count = grid // window
    parts = parts.reshape(count, window, count, window).transpose(0, 2, 1, 3).reshape(count * count, window * window)
    return np.where(parts[:, :, None] == parts[:, None], 0.0, _APART).astype(np.float32)
