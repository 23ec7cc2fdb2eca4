"""A small ViT (arXiv 2010.11929) and Swin (arXiv 2103.14030), untrained: attention, layer norms and GELU on tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from nq_tflite_models.nets.seeded import set_seeded_weights

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


@dataclass(frozen=True)
class Size:
    """Of a transformer.

    Attributes:
        dim, heads, hidden: width of a token, heads of an attention, width inside of an MLP.
        patch: side of a token's pixels.
        classes: of the logits.
    """

    dim: int = DIM
    heads: int = HEADS
    hidden: int = HIDDEN
    patch: int = PATCH
    classes: int = 10


_SMALL, _DEIT_S = Size(), Size(384, 6, 1536, 16, 1000)


def vit(side: int = 32, blocks: int = 2, size: Size = _SMALL) -> keras.Model:
    """Builds a ViT, on 4 x 4 patches if no other size is given: float32 [N, side, side, 3] to logits [N, 10].

    Example:
      vit(side=16, blocks=1).output_shape  # (None, 10)
    """
    image = keras.Input((side, side, 3), name="image")
    x = LearnedOffset(name="positions")(_tokens(image, size))
    for index in range(blocks):
        name = f"block_{index}"
        y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_0")(x)
        x = keras.layers.Add(name=f"{name}_add_0")([x, _attention(y, f"{name}_attention", size)])
        x = _mlp(x, name, size)
    return _classified(image, x, "vit", size)


def deit_s(seed: int = 0) -> keras.Model:
    """Builds a ViT of DeiT-S' size (arXiv 2012.12877), seeded: float32 [N, 224, 224, 3] to logits [N, 1000].

    The mean of all tokens stands in for its class token.

    Example:
      deit_s().count_params()  # 22050664
    """
    return set_seeded_weights(vit(224, 12, _DEIT_S), seed)


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
        y = _windows(_rolled(y, grid, -shift), grid)
        y = _attention(y, f"{name}_attention")
        y = _rolled(_whole(y, grid), grid, shift)
        x = keras.layers.Add(name=f"{name}_add_0")([x, y])
        x = _mlp(x, name)
    x = keras.layers.Reshape((grid // 2, 2, grid // 2, 2 * DIM))(x)
    x = keras.layers.Permute((1, 3, 2, 4))(x)
    x = keras.layers.Reshape(((grid // 2) ** 2, 4 * DIM))(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="merge_norm")(x)
    return _classified(image, keras.layers.Dense(2 * DIM, use_bias=False, name="merge")(x), "swin")


def _tokens(image: keras.KerasTensor, size: Size = _SMALL) -> keras.KerasTensor:
    x = keras.layers.Conv2D(size.dim, size.patch, strides=size.patch, name="patches")(image)
    return keras.layers.Reshape((x.shape[1] * x.shape[2], size.dim))(x)


def _attention(x: keras.KerasTensor, name: str, size: Size = _SMALL) -> keras.KerasTensor:
    """Multi-head self-attention over [N, tokens, dim]: dense layers, and batch matmuls of activations."""
    tokens, width = x.shape[1], size.dim // size.heads

    def heads(part: str) -> keras.KerasTensor:
        y = keras.layers.Dense(size.dim, name=f"{name}_{part}")(x)
        return keras.layers.Permute((2, 1, 3))(keras.layers.Reshape((tokens, size.heads, width))(y))

    scores = keras.ops.matmul(heads("query"), keras.ops.transpose(heads("key"), (0, 1, 3, 2))) * width**-0.5
    y = keras.ops.matmul(keras.layers.Softmax(name=f"{name}_softmax")(scores), heads("value"))
    y = keras.layers.Reshape((tokens, size.dim))(keras.layers.Permute((2, 1, 3))(y))
    return keras.layers.Dense(size.dim, name=f"{name}_out")(y)


def _mlp(x: keras.KerasTensor, name: str, size: Size = _SMALL) -> keras.KerasTensor:
    y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_1")(x)
    y = keras.layers.Dense(size.hidden, activation="gelu", name=f"{name}_hidden")(y)
    return keras.layers.Add(name=f"{name}_add_1")([x, keras.layers.Dense(size.dim, name=f"{name}_project")(y)])


def _rolled(x: keras.KerasTensor, grid: int, shift: int) -> keras.KerasTensor:
    if not shift:
        return x
    y = keras.layers.Reshape((grid, grid, DIM))(x)
    y = keras.ops.concatenate([y[:, -shift:], y[:, :-shift]], axis=1)  # TFLite has no operator that rolls
    y = keras.ops.concatenate([y[:, :, -shift:], y[:, :, :-shift]], axis=2)
    return keras.layers.Reshape((grid * grid, DIM))(y)


def _windows(x: keras.KerasTensor, grid: int) -> keras.KerasTensor:
    """[N, grid * grid, DIM] as windows [N * windows, WINDOW * WINDOW, DIM]."""
    count = grid // WINDOW
    x = keras.layers.Reshape((count, WINDOW, count, WINDOW, DIM))(x)
    return keras.ops.reshape(keras.layers.Permute((1, 3, 2, 4, 5))(x), (-1, WINDOW * WINDOW, DIM))


def _whole(x: keras.KerasTensor, grid: int) -> keras.KerasTensor:
    """The inverse of `_windows`."""
    count = grid // WINDOW
    x = keras.ops.reshape(x, (-1, count, count, WINDOW, WINDOW, DIM))
    return keras.layers.Reshape((grid * grid, DIM))(keras.layers.Permute((1, 3, 2, 4, 5))(x))


def _classified(image: keras.KerasTensor, x: keras.KerasTensor, name: str, size: Size = _SMALL) -> keras.Model:
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(size.classes, name="logits")(x), name=name)
