"""Small untrained models of sequences: recurrent nets, text as token numbers, sound as samples."""

from __future__ import annotations

import keras
from nq_tflite_models.nets.seeded import VOCABULARY

STEPS, FEATURES, UNITS = 12, 40, 64


def recurrent_net(layer: str = "LSTM", *, unroll: bool = False) -> keras.Model:
    """Two recurrent layers, the second one's last state classified: float32 [N, 12, 40] to logits [N, 10].

    Args:
      layer: "LSTM" or "GRU".
      unroll: its steps one after the other, instead of a loop.

    Example:
      recurrent_net("GRU").output_shape  # (None, 10)
    """
    frames = keras.Input((STEPS, FEATURES), name="frames")
    make = getattr(keras.layers, layer)
    x = make(UNITS, return_sequences=True, unroll=unroll, name="first")(frames)
    x = make(UNITS, unroll=unroll, name="second")(x)
    return keras.Model(frames, keras.layers.Dense(10, name="logits")(x), name=layer.lower())


def text_classifier() -> keras.Model:
    """An embedding of 500 tokens, averaged and classified: int32 [N, 16] to logits [N, 10].

    Example:
      text_classifier().output_shape  # (None, 10)
    """
    tokens = keras.Input((16,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(VOCABULARY, 64, name="embedding")(tokens)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    x = keras.layers.Dense(128, activation="relu", name="hidden")(x)
    return keras.Model(tokens, keras.layers.Dense(10, name="logits")(x), name="embedding")


def audio_cnn() -> keras.Model:
    """One-dimensional convolutions on raw samples, one of them dilated: float32 [N, 1024, 1] to logits [N, 10].

    Example:
      audio_cnn().output_shape  # (None, 10)
    """
    samples = keras.Input((1024, 1), name="samples")
    x = keras.layers.Conv1D(32, 32, strides=4, padding="same", activation="relu", name="filters")(samples)
    x = keras.layers.MaxPooling1D(4, name="pool_0")(x)
    x = keras.layers.Conv1D(64, 5, padding="same", use_bias=False, name="conv")(x)
    x = keras.layers.ReLU(name="conv_relu")(keras.layers.BatchNormalization(name="conv_bn")(x))
    x = keras.layers.Conv1D(64, 3, dilation_rate=2, padding="causal", activation="relu", name="dilated")(x)
    x = keras.layers.SeparableConv1D(96, 5, padding="same", activation="relu", name="separable")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(samples, keras.layers.Dense(10, name="logits")(x), name="audio")
