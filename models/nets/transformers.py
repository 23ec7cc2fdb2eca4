"""A small ViT (arXiv 2010.11929) and Swin (arXiv 2103.14030), untrained: attention, layer norms and GELU on tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

DIM, HEADS, HIDDEN = 64, 4, 128
PATCH = 4
WINDOW = 4


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class LearnedOffset(keras.layers.Layer):
    """Adds a weight of the shape of one sample: what tells a token its position."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weight."""
        self.offset = self.add_weight(shape=input_shape[1:], name="offset")

    def call(self, inputs: Any) -> Any:
        """inputs [N, ...] plus the offset [...]."""
        return inputs + self.offset


def vit(side: int = 32, blocks: int = 2) -> keras.Model:
    """Builds a ViT on 4 x 4 patches: float32 [N, side, side, 3] to logits [N, 10].

    Example:
      vit(side=16, blocks=1).output_shape  # (None, 10)
    """
    image = keras.Input((side, side, 3), name="image")
    x = LearnedOffset(name="positions")(_tokens(image))
    for index in range(blocks):
        name = f"block_{index}"
        y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_0")(x)
        x = keras.layers.Add(name=f"{name}_add_0")([x, attention(y, HEADS, f"{name}_attention")])
        x = _mlp(x, name)
    return _classified(image, x, "vit")


def swin(side: int = 32, blocks: int = 2) -> keras.Model:
    """Builds Swin blocks, every other one with shifted windows (without a mask), and a patch merging.

    float32 [N, side, side, 3] to logits [N, 10]; side / 4 is a multiple of 4.

    Example:
      swin(side=16, blocks=1).output_shape  # (None, 10)
    """
    image = keras.Input((side, side, 3), name="image")
    x = _tokens(image)
    grid = side // PATCH
    for index in range(blocks):
        name, shift = f"block_{index}", WINDOW // 2 if index % 2 else 0
        y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_0")(x)
        y = windows(rolled(y, grid, -shift), grid, WINDOW)
        y = attention(y, HEADS, f"{name}_attention")
        y = rolled(whole(y, grid, WINDOW), grid, shift)
        x = keras.layers.Add(name=f"{name}_add_0")([x, y])
        x = _mlp(x, name)
    x = keras.layers.Reshape((grid // 2, 2, grid // 2, 2 * DIM))(x)
    x = keras.layers.Permute((1, 3, 2, 4))(x)
    x = keras.layers.Reshape(((grid // 2) ** 2, 4 * DIM))(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="merge_norm")(x)
    return _classified(image, keras.layers.Dense(2 * DIM, use_bias=False, name="merge")(x), "swin")


def _tokens(image: keras.KerasTensor) -> keras.KerasTensor:
    x = keras.layers.Conv2D(DIM, PATCH, strides=PATCH, name="patches")(image)
    return keras.layers.Reshape((x.shape[1] * x.shape[2], DIM))(x)


def attention(
    x: keras.KerasTensor, heads: int, name: str, bias: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None
) -> keras.KerasTensor:
    """Multi-head self-attention over [N, tokens, channels]: dense layers, and batch matmuls of activations.

    Args:
      bias: what adds to the scores [N, heads, tokens, tokens] before the softmax.
    """
    _, tokens, channels = x.shape
    size = channels // heads

    def split(part: str) -> keras.KerasTensor:
        y = keras.layers.Dense(channels, name=f"{name}_{part}")(x)
        return keras.layers.Permute((2, 1, 3))(keras.layers.Reshape((tokens, heads, size))(y))

    scores = keras.ops.matmul(split("query"), keras.ops.transpose(split("key"), (0, 1, 3, 2))) * size**-0.5
    scores = scores if bias is None else bias(scores)
    y = keras.ops.matmul(keras.layers.Softmax(name=f"{name}_softmax")(scores), split("value"))
    y = keras.layers.Reshape((tokens, channels))(keras.layers.Permute((2, 1, 3))(y))
    return keras.layers.Dense(channels, name=f"{name}_out")(y)


def _mlp(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_1")(x)
    y = keras.layers.Dense(HIDDEN, activation="gelu", name=f"{name}_hidden")(y)
    return keras.layers.Add(name=f"{name}_add_1")([x, keras.layers.Dense(DIM, name=f"{name}_project")(y)])


def rolled(x: keras.KerasTensor, grid: int, shift: int) -> keras.KerasTensor:
    """[N, grid * grid, channels] with rows and columns moved round by `shift`."""
    if not shift:
        return x
    y = keras.layers.Reshape((grid, grid, x.shape[-1]))(x)
    y = keras.ops.concatenate([y[:, -shift:], y[:, :-shift]], axis=1)  # TFLite has no operator that rolls
    y = keras.ops.concatenate([y[:, :, -shift:], y[:, :, :-shift]], axis=2)
    return keras.layers.Reshape((grid * grid, x.shape[-1]))(y)


def windows(x: keras.KerasTensor, grid: int, window: int) -> keras.KerasTensor:
    """[N, grid * grid, channels] as windows [N * windows, window * window, channels]."""
    count, channels = grid // window, x.shape[-1]
    x = keras.layers.Reshape((count, window, count, window, channels))(x)
    return keras.ops.reshape(keras.layers.Permute((1, 3, 2, 4, 5))(x), (-1, window * window, channels))


def whole(x: keras.KerasTensor, grid: int, window: int) -> keras.KerasTensor:
    """The inverse of `windows`."""
    count, channels = grid // window, x.shape[-1]
    x = keras.ops.reshape(x, (-1, count, count, window, window, channels))
    return keras.layers.Reshape((grid * grid, channels))(keras.layers.Permute((1, 3, 2, 4, 5))(x))


def _classified(image: keras.KerasTensor, x: keras.KerasTensor, name: str) -> keras.Model:
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(10, name="logits")(x), name=name)
