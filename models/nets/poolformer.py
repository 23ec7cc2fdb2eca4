"""PoolFormer-S12 (Yu et al., arXiv 2111.11418), untrained: a transformer whose tokens meet in average pooling."""

from __future__ import annotations

from typing import Any

import keras
from nq_tflite_models.nets.layer_norm import ImageNorm

#: Channels and blocks of each stage.
STAGES = ((64, 2), (128, 2), (320, 6), (512, 2))


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel by a weight."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the weights."""
        self.scale = self.add_weight(shape=input_shape[-1:], name="scale")

    def call(self, inputs: Any) -> Any:
        """inputs [N, height, width, channels] times the weights."""
        return inputs * self.scale


def untrained_poolformer_s12(side: int = 224) -> keras.Model:
    """Builds it: float32 [N, side, side, 3] to logits [N, 1000]; side is a multiple of 32.

    Example:
      untrained_poolformer_s12(side=32).output_shape  # (None, 1000)
    """
    image = keras.Input((side, side, 3), name="image")
    x = image
    for stage, (channels, blocks) in enumerate(STAGES):
        kernel, stride = (3, 2) if stage else (7, 4)
        x = keras.layers.Conv2D(channels, kernel, stride, padding="same", name=f"patches_{stage}")(x)
        for block in range(blocks):
            x = _block(x, f"stage_{stage}_{block}")
    x = ImageNorm(epsilon=1e-5, name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(1000, name="logits")(x), name="poolformer_s12")


def _block(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    channels = x.shape[-1]
    y = ImageNorm(epsilon=1e-5, name=f"{name}_norm_0")(x)
    y = keras.layers.AveragePooling2D(3, 1, padding="same", name=f"{name}_pool")(y) - y
    x = keras.layers.Add(name=f"{name}_add_0")([x, LayerScale(name=f"{name}_scale_0")(y)])
    y = ImageNorm(epsilon=1e-5, name=f"{name}_norm_1")(x)
    y = keras.layers.Conv2D(4 * channels, 1, activation="gelu", name=f"{name}_hidden")(y)
    y = keras.layers.Conv2D(channels, 1, name=f"{name}_project")(y)
    return keras.layers.Add(name=f"{name}_add_1")([x, LayerScale(name=f"{name}_scale_1")(y)])
