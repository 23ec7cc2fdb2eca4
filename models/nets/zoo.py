"""Models to measure latency and memory on, by name, all with seeded weights: nothing is downloaded, nothing is trained.

Keras loads tensorflow, which a measuring process must not hold, so the builders import it when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nq_tflite.errors import UnsupportedModelError

if TYPE_CHECKING:
    import keras


def build_model(name: str, seed: int = 0) -> keras.Model:
    """Builds a model of `MODELS`.

    Returns:
      A model with one float32 input [N, height, width, channels] of about [-1, 1], to float32 logits.

    Raises:
      UnsupportedModelError: no model of that name.

    Example:
      build_model("ds_cnn_s").output_shape  # (None, 12)
    """
    if name not in MODELS:
        raise UnsupportedModelError("model", expected=f"one of {', '.join(MODELS)}", got=repr(name))
    return MODELS[name](seed)


def _mobilenet_v2(seed: int) -> keras.Model:
    from nq_tflite_models.nets.mobilenet_v2 import untrained_mobilenet_v2

    return _seeded(untrained_mobilenet_v2(), seed)


def _efficientnet_lite0(seed: int) -> keras.Model:
    from nq_tflite_models.nets.efficientnet_lite0 import untrained_efficientnet_lite0

    return _seeded(untrained_efficientnet_lite0(), seed)


def _ds_cnn_s(seed: int) -> keras.Model:
    from nq_tflite_models.nets.ds_cnn import ds_cnn

    return ds_cnn("small", seed)


def _ds_cnn_l(seed: int) -> keras.Model:
    from nq_tflite_models.nets.ds_cnn import ds_cnn

    return ds_cnn("large", seed)


def _mlp_mixer_s16(seed: int) -> keras.Model:
    from nq_tflite_models.nets.mlp_mixer import mlp_mixer

    return mlp_mixer(seed)


def _application(name: str, **options: Any) -> Callable[[int], keras.Model]:
    """A builder of one of Keras' own architectures, 224 x 224 to 1000 classes."""

    def build(seed: int) -> keras.Model:
        import keras

        build_untrained = getattr(keras.applications, name)
        net = build_untrained(weights=None, input_shape=(224, 224, 3), classifier_activation=None, **options)
        return _seeded(net, seed)

    return build


def _seeded(model: keras.Model, seed: int) -> keras.Model:
    from nq_tflite_models.nets.seeded import seeded_inputs, set_seeded_weights, settle_batch_norms

    return settle_batch_norms(set_seeded_weights(model, seed), seeded_inputs(model.input_shape, 4, seed))


MODELS: dict[str, Callable[[int], Any]] = {
    "resnet50": _application("ResNet50"),
    "densenet121": _application("DenseNet121"),
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3_large": _application("MobileNetV3Large", include_preprocessing=False),
    "efficientnet_b0": _application("EfficientNetB0"),
    "efficientnet_lite0": _efficientnet_lite0,
    "mlp_mixer_s16": _mlp_mixer_s16,
    "ds_cnn_l": _ds_cnn_l,
    "ds_cnn_s": _ds_cnn_s,
}
"""Builders by name; each takes a seed."""
