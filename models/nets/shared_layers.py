"""Small Keras models whose layers are read several times: siamese branches, steps of time. Nothing is trained."""

from __future__ import annotations

import keras


def siamese_dense(width: int = 256) -> keras.Model:
    """Two vectors through the same three dense layers, then their difference: two float32 [N, 64] to [N, 64].

    Example:
      siamese_dense().output_shape  # (None, 64)
    """
    names = ("hidden_0", "hidden_1", "embedding")
    units = (width, width, 64)
    layers = [
        keras.layers.Dense(each, activation=None if name == "embedding" else "relu", name=name)
        for name, each in zip(names, units, strict=True)
    ]
    branches, inputs = [], [keras.Input((64,), name=name) for name in ("left", "right")]
    for x in inputs:
        for layer in layers:
            x = layer(x)
        branches.append(x)
    return keras.Model(inputs, keras.layers.Subtract(name="difference")(branches), name="siamese_dense")


def siamese_conv(width: int = 32) -> keras.Model:
    """Two images through the same convolutions, then a dense layer on both: two float32 [N, 24, 24, 3] to [N, 32].

    Example:
      siamese_conv().output_shape  # (None, 32)
    """
    layers = [
        keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name="conv_0"),
        keras.layers.Conv2D(2 * width, 3, strides=2, padding="same", activation="relu", name="conv_1"),
        keras.layers.Conv2D(2 * width, 3, padding="same", activation="relu", name="conv_2"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(64, name="embedding"),
    ]
    branches, inputs = [], [keras.Input((24, 24, 3), name=name) for name in ("left", "right")]
    for x in inputs:
        for layer in layers:
            x = layer(x)
        branches.append(x)
    x = keras.layers.Concatenate(name="both")(branches)
    return keras.Model(inputs, keras.layers.Dense(32, name="scores")(x), name="siamese_conv")


def time_distributed(width: int = 64) -> keras.Model:
    """A dense layer at every step of an unrolled LSTM: float32 [N, 8, 40] to [N, 10].

    Example:
      time_distributed().output_shape  # (None, 10)
    """
    frames = keras.Input((8, 40), name="frames")
    step = keras.layers.Dense(2 * width, activation="relu", name="step")
    x = keras.layers.TimeDistributed(step, name="steps")(frames)
    x = keras.layers.LSTM(width, unroll=True, name="lstm")(x)
    return keras.Model(frames, keras.layers.Dense(10, name="logits")(x), name="time_distributed")
