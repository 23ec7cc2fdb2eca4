"""Small Keras models with what makes a converter stumble: unusual inputs and outputs, classes, types and layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def subclassed() -> keras.Model:
    """A model of a class of its own, without a graph of layers: float32 [N, 16, 16, 3] to [N, 10]."""
    import numpy as np
    from nq_tflite_models.nets.custom import SubclassedNet

    model = SubclassedNet()
    model(np.zeros((1, 16, 16, 3), np.float32))
    return _seeded(model)


def several_inputs_and_outputs() -> keras.Model:
    """`image` [N, 16, 16, 3] and `features` [N, 40], to a dict of `scores` [N, 10] and `map` [N, 16, 16, 64]."""
    import keras

    image, features = keras.Input((16, 16, 3), name="image"), keras.Input((40,), name="features")
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu", name="conv")(image)
    y = keras.layers.Dense(64, activation="relu", name="dense")(features)
    y = keras.layers.Concatenate(name="join")([keras.layers.GlobalAveragePooling2D(name="pool")(x), y])
    outputs = {"scores": keras.layers.Dense(10, name="logits")(y), "map": x}
    return _seeded(keras.Model([image, features], outputs, name="several"))


def training_layers() -> keras.Model:
    """Layers that do nothing at inference: augmentation, noise, dropout. float32 [N, 16, 16, 3] to [N, 10]."""
    import keras

    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.RandomFlip(name="flip")(image)
    x = keras.layers.RandomRotation(0.1, name="rotation")(x)
    x = keras.layers.GaussianNoise(0.1, name="noise")(x)
    x = keras.layers.Conv2D(64, 3, activation="relu", name="conv")(x)
    x = keras.layers.SpatialDropout2D(0.2, name="spatial_dropout")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    return _seeded(keras.Model(image, keras.layers.Dense(10, name="logits")(x), name="training"))


def of_policy(policy: str) -> keras.Model:
    """A model that computes under a dtype policy: float32 [N, 16, 16, 3] to [N, 10]."""
    import keras

    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(64, 3, padding="same", use_bias=False, dtype=policy, name="conv")(image)
    x = keras.layers.BatchNormalization(dtype=policy, name="conv_bn")(x)
    x = keras.layers.ReLU(dtype=policy, name="conv_relu")(x)
    x = keras.layers.DepthwiseConv2D(3, dtype=policy, name="depthwise")(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=policy, name="pool")(x)
    return _seeded(keras.Model(image, keras.layers.Dense(10, dtype=policy, name="logits")(x), name=policy))


def _seeded(model: keras.Model) -> keras.Model:
    from nq_tflite_models.nets.seeded import set_seeded_weights

    return set_seeded_weights(model, 1)


VARIANTS: dict[str, Callable[[], Any]] = {
    "subclassed": subclassed,
    "several_inputs_and_outputs": several_inputs_and_outputs,
    "training_layers": training_layers,
    "mixed_float16": partial(of_policy, "mixed_float16"),
    "bfloat16": partial(of_policy, "bfloat16"),
}
"""Builders by name, with seeded weights."""
