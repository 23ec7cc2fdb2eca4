"""A small encoder and decoder in the manner of U-Net (arXiv 1505.04597), untrained: transposed convolutions."""

from __future__ import annotations

import keras


def segmenter(side: int = 32) -> keras.Model:
    """Builds two stages down and two up with shortcuts: float32 [N, side, side, 3] to logits [N, side, side, 5].

    Example:
      segmenter().output_shape  # (None, 32, 32, 5)
    """
    image = keras.Input((side, side, 3), name="image")
    shortcuts, x = [], image
    for index, channels in enumerate((32, 64)):
        x = _convolved(x, channels, f"down_{index}")
        shortcuts.append(x)
        x = keras.layers.MaxPooling2D(name=f"pool_{index}")(x)
    x = _convolved(x, 128, "bottom")
    for index, channels in ((1, 64), (0, 32)):
        x = keras.layers.Conv2DTranspose(channels, 3, strides=2, padding="same", name=f"up_{index}")(x)
        x = keras.layers.Concatenate(name=f"join_{index}")([shortcuts[index], x])
        x = _convolved(x, channels, f"up_{index}_conv")
    return keras.Model(image, keras.layers.Conv2D(5, 1, name="logits")(x), name="segmenter")


def _convolved(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.BatchNormalization(name=f"{name}_bn")(x))
