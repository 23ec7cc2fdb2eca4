"""Models to measure on, by name, with seeded weights: nothing is downloaded, nothing is trained here. Some of them take
trained weights from a file that the user has.

Keras loads tensorflow, which a measuring process must not hold, so the builders import it when they are called.
"""

from __future__ import annotations

import importlib
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


def _untrained(module: str, name: str) -> Callable[[int], keras.Model]:
    """A builder of a net of this package that it builds untrained."""

    def build(seed: int) -> keras.Model:
        net = importlib.import_module(f"{__package__}.{module}")
        return _seeded(getattr(net, f"untrained_{name}")(), seed)

    return build


def _ds_cnn_s(seed: int) -> keras.Model:
    from nq_tflite_models.nets.ds_cnn import ds_cnn

    return ds_cnn("small", seed)


def _ds_cnn_l(seed: int) -> keras.Model:
    from nq_tflite_models.nets.ds_cnn import ds_cnn

    return ds_cnn("large", seed)


def _digits_cnn(seed: int) -> keras.Model:
    from nq_tflite_models.nets.digits_cnn import digits_cnn

    return digits_cnn(seed)


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


def _application(name: str, side: int = 224, **options: Any) -> Callable[[int], keras.Model]:
    """A builder of one of Keras' own architectures, side x side to 1000 classes."""

    def build(seed: int) -> keras.Model:
        import keras

        build_untrained = getattr(keras.applications, name)
        net = build_untrained(weights=None, input_shape=(side, side, 3), classifier_activation=None, **options)
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

_ZOO: dict[str, Callable[[int], Any]] = {
    "resnet50": _application("ResNet50"),
    "densenet121": _application("DenseNet121"),
    "mobilenet_v2": _untrained("mobilenet_v2", "mobilenet_v2"),
    "mobilenet_v3_large": _application("MobileNetV3Large", include_preprocessing=False),
    "efficientnet_b0": _application("EfficientNetB0"),
    "efficientnet_lite0": _untrained("efficientnet_lite0", "efficientnet_lite0"),
    "mlp_mixer_s16": _mlp_mixer_s16,
    "ds_cnn_l": _ds_cnn_l,
    "ds_cnn_s": _ds_cnn_s,
    "digits_cnn": _digits_cnn,
    **{name: partial(build, None) for name, build in WITH_WEIGHTS.items()},
}

_ALSO_IN_THE_PAPER: dict[str, Callable[[int], Any]] = {
    "resnet18": _untrained("resnet18", "resnet18"),
    "resnet101": _application("ResNet101"),
    "mobilenet_v1": _application("MobileNet"),
    "shufflenet_v2": _untrained("shufflenet_v2", "shufflenet_v2"),
    "inception_v3": _application("InceptionV3", 299),
    "vit_b16": _untrained("vision_transformers", "vit_b16"),
    "deit_s": _untrained("vision_transformers", "deit_s"),
    "swin_t": _untrained("vision_transformers", "swin_t"),
    "poolformer_s12": _untrained("poolformer", "poolformer_s12"),
}

MODELS = _ZOO | _ALSO_IN_THE_PAPER
"""Builders by name; each takes a seed."""

PAPER = (
    *("resnet18", "resnet50", "resnet101", "densenet121", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"),
    *("efficientnet_b0", "shufflenet_v2", "inception_v3", "vit_b16", "deit_s", "swin_t", "poolformer_s12"),
)
"""Architectures that NestQuant's paper measures, at their sizes."""

SETS = {"zoo": tuple(_ZOO), "paper": PAPER}
"""Models by the name of a set."""
