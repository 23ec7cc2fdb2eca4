"""Layer normalization that stays in int8."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class LayerNorm(keras.layers.LayerNormalization):
    """Keras' own negates the mean, and TFLite has no int8 NEG: its graph would leave int8 at every normalization."""

    over: tuple[int, ...] = (-1,)

    def call(self, inputs: Any) -> Any:
        """inputs [..., channels], normalized over `over`."""
        centred = inputs - keras.ops.mean(inputs, axis=self.over, keepdims=True)
        variance = keras.ops.mean(keras.ops.square(centred), axis=self.over, keepdims=True)
        return centred * keras.ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class ImageNorm(LayerNorm):
    """Normalizes each image [height, width, channels] as a whole: group normalization with one group."""

    over = (1, 2, 3)
