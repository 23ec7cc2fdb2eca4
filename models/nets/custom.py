"""A Keras model of a class of its own."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class SubclassedNet(keras.Model):
    """A convolution and two dense layers: float32 [N, 16, 16, 3] to logits [N, 10]."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.input_spec = keras.layers.InputSpec(dtype="float32", shape=(None, 16, 16, 3))
        self.conv = keras.layers.Conv2D(64, 3, padding="same", activation="relu")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.hidden = keras.layers.Dense(64, activation="relu")
        self.logits = keras.layers.Dense(10)

    def call(self, inputs: Any) -> Any:
        """Logits [N, 10]."""
        return self.logits(self.hidden(self.pool(self.conv(inputs))))
