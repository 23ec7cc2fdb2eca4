"""A small model of every architecture that a converter should take, by name, with seeded weights.

Those of keras.applications are cut behind their first stages and get a small classifier, so that every kind of block is
there and a conversion takes a second or two; the others are written in this package at small sizes. Keras loads
tensorflow, which a process of another runtime must not hold, so the builders import it when they are called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nq_tflite.errors import UnsupportedModelError

if TYPE_CHECKING:
    import keras

NUM_CLASSES = 10


@dataclass(frozen=True)
class Cut:
    """The first stages of a model of keras.applications.

    Attributes:
        application: its name there.
        last: the layer that the classifier sits on.
        side: of the square input.
        options: of the application's builder.
    """

    application: str
    last: str
    side: int = 32
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> keras.Model:
        """The untrained network: float32 [N, side, side, 3] to logits [N, 10]."""
        import keras

        make = getattr(keras.applications, self.application)
        body = make(weights=None, include_top=False, input_shape=(self.side, self.side, 3), **self.options)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(body.get_layer(self.last).output)
        x = keras.layers.Dense(NUM_CLASSES, name="logits")(x)
        return keras.Model(body.input, x, name=self.application.lower())


#: Without layers that expect pixels of 0 to 255, where they can be left out.
_PLAIN = {"include_preprocessing": False}
CUTS: dict[str, Cut] = {
    "vgg": Cut("VGG16", "block3_pool"),
    "resnet": Cut("ResNet50", "conv3_block2_out"),
    "resnet_v2": Cut("ResNet50V2", "conv3_block2_out"),
    "densenet": Cut("DenseNet121", "conv3_block4_concat"),
    "inception": Cut("InceptionV3", "mixed4", 75),
    "inception_resnet": Cut("InceptionResNetV2", "block35_1_ac", 75),
    "xception": Cut("Xception", "block5_sepconv3_bn", 71),
    "nasnet": Cut("NASNetMobile", "normal_concat_0"),
    "mobilenet": Cut("MobileNet", "conv_pw_6_relu"),
    "mobilenet_v2": Cut("MobileNetV2", "block_8_add"),
    "mobilenet_v3": Cut("MobileNetV3Small", "expanded_conv_5_add", options=_PLAIN),
    "efficientnet": Cut("EfficientNetB0", "block4b_add"),
    "efficientnet_v2": Cut("EfficientNetV2B0", "block4b_add", options=_PLAIN),
    "convnext": Cut("ConvNeXtTiny", "convnext_tiny_stage_1_block_1_identity", options=_PLAIN),
}
"""One of each architecture of keras.applications."""


def _recurrent(layer: str, *, unroll: bool) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        from nq_tflite_models.nets.sequences import recurrent_net

        return recurrent_net(layer, unroll=unroll)

    return build


def _from(module: str, name: str) -> Callable[[], keras.Model]:
    """A builder of this package."""

    def build() -> keras.Model:
        return getattr(importlib.import_module(f"{__package__}.{module}"), name)()

    return build


FAMILIES: dict[str, Callable[[], Any]] = {name: cut.build for name, cut in CUTS.items()} | {
    "shufflenet": _from("shufflenet", "shufflenet"),
    "vit": _from("transformers", "vit"),
    "swin": _from("transformers", "swin"),
    "lstm": _recurrent("LSTM", unroll=False),
    "lstm_unrolled": _recurrent("LSTM", unroll=True),
    "gru_unrolled": _recurrent("GRU", unroll=True),
    "embedding": _from("sequences", "text_classifier"),
    "audio": _from("sequences", "audio_cnn"),
    "segmenter": _from("segmenter", "segmenter"),
}
"""Builders of untrained models by name."""


APPLICATIONS = (
    *("VGG16", "VGG19"),
    *("ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2"),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
    *("InceptionV3", "InceptionResNetV2", "Xception", "NASNetMobile", "NASNetLarge"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
    *(f"EfficientNetB{size}" for size in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
)
"""All of keras.applications."""


def build_application(name: str, seed: int = 0) -> keras.Model:
    """Builds one of `APPLICATIONS` at its own size, with seeded weights; to logits.

    Example:
      build_application("EfficientNetV2S").input_shape  # (None, 384, 384, 3)
    """
    import keras

    options: dict[str, Any] = {"weights": None, "classifier_activation": None}
    if name.startswith(("MobileNetV3", "EfficientNetV2", "ConvNeXt")):
        options |= _PLAIN
    if name.startswith("MobileNetV3"):  # of any size, if it is not told
        options["input_shape"] = (224, 224, 3)
    return _seeded(getattr(keras.applications, name)(**options), seed)


def build_family(name: str, seed: int = 0) -> keras.Model:
    """Builds a model of `FAMILIES` with seeded weights.

    Raises:
      UnsupportedModelError: no family of that name.

    Example:
      build_family("vit").output_shape  # (None, 10)
    """
    if name not in FAMILIES:
        raise UnsupportedModelError("family", expected=f"one of {', '.join(FAMILIES)}", got=repr(name))
    return _seeded(FAMILIES[name](), seed)


def _seeded(model: keras.Model, seed: int) -> keras.Model:
    from nq_tflite_models.nets.seeded import model_inputs, set_seeded_weights, settle_batch_norms

    return settle_batch_norms(set_seeded_weights(model, seed), model_inputs(model, 4, seed)[0])
