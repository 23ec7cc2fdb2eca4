"""ResNet-18 (He et al., arXiv 1512.03385), untrained: two 3 x 3 convolutions a block."""

from __future__ import annotations

import keras

STAGES = (64, 128, 256, 512)


def untrained_resnet18(side: int = 224) -> keras.Model:
    """Builds it: float32 [N, side, side, 3] to logits [N, 1000], with SAME padding.

    Example:
      untrained_resnet18().output_shape  # (None, 1000)
    """
    image = keras.Input((side, side, 3), name="image")
    x = keras.layers.ReLU(name="relu")(_conv(image, STAGES[0], 7, 2, "conv"))
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="max_pool")(x)
    for stage, channels in enumerate(STAGES):
        for block in range(2):
            x = _block(x, channels, 2 if stage and not block else 1, f"stage_{stage}_{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(1000, name="logits")(x), name="resnet18")


def _block(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    shortcut = x if stride == 1 else _conv(x, channels, 1, stride, f"{name}_shortcut")
    x = keras.layers.ReLU(name=f"{name}_relu")(_conv(x, channels, 3, stride, f"{name}_conv_0"))
    x = keras.layers.Add(name=f"{name}_add")([shortcut, _conv(x, channels, 3, 1, f"{name}_conv_1")])
    return keras.layers.ReLU(name=name)(x)


def _conv(x: keras.KerasTensor, channels: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(name=f"{name}_bn")(x)
