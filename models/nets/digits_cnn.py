"""A digits CNN as tutorials train it on MNIST: two convolutions with poolings, two dense layers, untrained."""

from __future__ import annotations

import keras
from nq_tflite_models.nets.seeded import set_seeded_weights


def digits_cnn(seed: int = 0) -> keras.Model:
    """Builds it with 224,800 seeded weights, 2.6 million multiplications an inference.

    Returns:
      A model from float32 [N, 28, 28, 1], grey pictures, to logits [N, 10].

    Example:
      digits_cnn().output_shape  # (None, 10)
    """
    inputs = keras.Input((28, 28, 1), name="image")
    x = keras.layers.Conv2D(32, 3, activation="relu", name="conv_0")(inputs)
    x = keras.layers.MaxPooling2D(name="pool_0")(x)
    x = keras.layers.Conv2D(64, 3, activation="relu", name="conv_1")(x)
    x = keras.layers.MaxPooling2D(name="pool_1")(x)
    x = keras.layers.Dense(128, activation="relu", name="hidden")(keras.layers.Flatten(name="flat")(x))
    logits = keras.layers.Dense(10, name="logits")(x)
    return set_seeded_weights(keras.Model(inputs, logits, name="digits_cnn"), seed)
