"""ResNet-18 (arXiv 1512.03385), untrained: keras.applications begins at 50."""

from __future__ import annotations

import keras
from nq_tflite_models.nets.seeded import seeded_inputs, set_seeded_weights, settle_batch_norms

_WIDTHS = (64, 128, 256, 512)
_BLOCKS = 2


def resnet18(seed: int = 0) -> keras.Model:
    """Builds it with seeded weights: float32 [N, 224, 224, 3] to logits [N, 1000].

    Example:
      resnet18().count_params()  # 11699112
    """
    image = keras.Input((224, 224, 3), name="image")
    x = _convolution(image, 64, 7, 2, "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(keras.layers.ReLU(name="stem_relu")(x))
    for stage, width in enumerate(_WIDTHS):
        for index in range(_BLOCKS):
            x = _block(x, width, 2 if stage and not index else 1, f"stage_{stage}_block_{index}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, keras.layers.Dense(1000, name="logits")(x), name="resnet18")
    return settle_batch_norms(set_seeded_weights(model, seed), seeded_inputs(model.input_shape, 4, seed))


def _block(x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
    y = keras.layers.ReLU(name=f"{name}_relu_0")(_convolution(x, width, 3, stride, f"{name}_0"))
    y = _convolution(y, width, 3, 1, f"{name}_1")
    if stride > 1:
        x = _convolution(x, width, 1, stride, f"{name}_shortcut")
    return keras.layers.ReLU(name=f"{name}_relu_1")(keras.layers.Add(name=f"{name}_add")([x, y]))


def _convolution(x: keras.KerasTensor, width: int, side: int, stride: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(width, side, stride, padding="same", use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(name=f"{name}_norm")(x)
