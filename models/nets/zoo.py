"""Models to measure on, by name, with seeded weights: nothing is downloaded, nothing is trained here. Some of them take
trained weights from a file that the user has.

Keras loads tensorflow, which a measuring process must not hold, so the builders import it when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nq_tflite.errors import UnsupportedModelError

if TYPE_CHECKING:
    import keras


def build_model(name: str, seed: int = 0, weights: Path | None = None) -> keras.Model:
    """Builds a model of `MODELS`.

    Args:
      name: of the model.
      seed: of seeded weights.
      weights: a file of trained ones, for a model of `WITH_WEIGHTS`; models/README.md says which file.

    Returns:
      A model with one float32 input [N, height, width, channels] of about [-1, 1], to float32 logits.

    Raises:
      UnsupportedModelError: no model of that name, or one that takes no file of weights.
      ModelSourceError: the file cannot be read, or is of another net.

    Example:
      build_model("ds_cnn_s").output_shape  # (None, 12)
    """
    if name not in MODELS:
        raise UnsupportedModelError("model", expected=f"one of {', '.join(MODELS)}", got=repr(name))
    if weights is None:
        return MODELS[name](seed)
    if name not in WITH_WEIGHTS:
        expected = f"a model that takes trained weights, one of {', '.join(WITH_WEIGHTS)}"
        raise UnsupportedModelError(f"weights {weights}", expected=expected, got=name)
    return WITH_WEIGHTS[name](weights, seed)


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


def _cifar_resnet(depth: int, weights: Path | None, seed: int) -> keras.Model:
    from nq_tflite_models.nets.cifar_resnet import cifar_resnet

    return cifar_resnet(depth, weights, seed)


def _mlperf_tiny(net: Literal["resnet8", "vww", "kws"], weights: Path | None, seed: int) -> keras.Model:
    from nq_tflite_models.nets import mlperf_tiny

    build = {"resnet8": mlperf_tiny.mlperf_resnet8, "vww": mlperf_tiny.mlperf_vww, "kws": mlperf_tiny.mlperf_kws}[net]
    return build(weights, seed)


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


WITH_WEIGHTS: dict[str, Callable[[Path | None, int], Any]] = {
    "cifar_resnet20": partial(_cifar_resnet, 20),
    "cifar_resnet32": partial(_cifar_resnet, 32),
    "cifar_resnet44": partial(_cifar_resnet, 44),
    "cifar_resnet56": partial(_cifar_resnet, 56),
    "mlperf_resnet8": partial(_mlperf_tiny, "resnet8"),
    "mlperf_vww": partial(_mlperf_tiny, "vww"),
    "mlperf_kws": partial(_mlperf_tiny, "kws"),
}
"""Builders by name that take a file of trained weights, or None, and a seed."""

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
    **{name: partial(build, None) for name, build in WITH_WEIGHTS.items()},
}
"""Builders by name; each takes a seed."""
