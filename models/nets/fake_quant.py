"""Small Keras models as quantization-aware training leaves them: weights and activations through fake quantization.

Their weights are codes times scales already, and the ranges of their activations are known: tensorflow makes a
full-int8 file of them without any data.
"""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import keras
import numpy as np
import numpy.typing as npt


class FakeQuant(keras.layers.Layer):
    """Rounds activations to 256 values of a range, once `watch_ranges` has set it.

    Attributes:
        limits: the range; None as long as activations pass as they are.
        watching: whether it grows with what passes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.limits: tuple[float, float] | None = None
        self.watching = False

    def call(self, values: Any) -> Any:
        """The same shape."""
        import tensorflow as tf

        if self.watching:
            low, high = self.limits or (0.0, 0.0)
            self.limits = min(low, float(tf.reduce_min(values))), max(high, float(tf.reduce_max(values)))
            return values
        return values if self.limits is None else tf.quantization.fake_quant_with_min_max_args(values, *self.limits)


class FakeQuantLayer(keras.layers.Layer):
    """A convolution, depthwise convolution or dense layer whose weights are rounded to 255 codes.

    The codes of convolutions have a scale a channel, those of dense layers one scale, as tfmot has it.

    Args:
      kind: "conv", "depthwise" or "dense".
      units: output channels; of a depthwise one as many as it is given.
    """

    def __init__(self, kind: str, units: int = 0, *, stride: int = 1, relu: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._kind, self._units, self._stride, self._relu = kind, units, stride, relu

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel and the bias."""
        depth = int(input_shape[-1] or 0)
        shapes = {"conv": (3, 3, depth, self._units), "depthwise": (3, 3, depth), "dense": (depth, self._units)}
        self.kernel = self.add_weight(shape=shapes[self._kind], name="kernel")
        self.bias = self.add_weight(shape=shapes[self._kind][-1:], name="bias")

    def call(self, values: Any) -> Any:
        """[N, ..., units]."""
        import tensorflow as tf

        is_dense = self._kind == "dense"
        axes = None if is_dense else list(range(len(self.kernel.shape) - 1))
        most = tf.reduce_max(tf.abs(self.kernel), axis=axes)
        name = "fake_quant_with_min_max_vars" + ("" if is_dense else "_per_channel")
        kernel = getattr(tf.quantization, name)(self.kernel, -most, most, narrow_range=True)
        if is_dense:
            values = tf.matmul(values, kernel)
        elif self._kind == "conv":
            values = tf.nn.conv2d(values, kernel, self._stride, "SAME")
        else:
            strides = (1, self._stride, self._stride, 1)
            values = tf.nn.depthwise_conv2d(values, tf.reshape(kernel, (*kernel.shape, 1)), strides, "SAME")
        values += self.bias
        return tf.nn.relu(values) if self._relu else values


def fake_quant_conv(width: int = 32) -> keras.Model:
    """Convolutions, one of them depthwise, and a dense layer: float32 [N, 24, 24, 3] to [N, 40].

    Example:
      watch_ranges(set_seeded_weights(fake_quant_conv()), images)
    """
    image = keras.Input((24, 24, 3), name="image")
    x = FakeQuant(name="image_range")(image)
    x = FakeQuant(name="conv_range")(FakeQuantLayer("conv", width, stride=2, name="conv")(x))
    x = FakeQuant(name="depthwise_range")(FakeQuantLayer("depthwise", name="depthwise")(x))
    x = FakeQuant(name="wide_range")(FakeQuantLayer("conv", 2 * width, stride=2, name="wide")(x))
    x = FakeQuant(name="pool_range")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    x = FakeQuant(name="logits_range")(FakeQuantLayer("dense", 40, relu=False, name="logits")(x))
    return keras.Model(image, x, name="fake_quant_conv")


def fake_quant_dense(width: int = 128) -> keras.Model:
    """Three dense layers: float32 [N, 64] to [N, 40].

    Example:
      watch_ranges(set_seeded_weights(fake_quant_dense()), vectors)
    """
    vector = keras.Input((64,), name="vector")
    x = FakeQuant(name="vector_range")(vector)
    x = FakeQuant(name="first_range")(FakeQuantLayer("dense", width, name="first")(x))
    x = FakeQuant(name="second_range")(FakeQuantLayer("dense", width, name="second")(x))
    x = FakeQuant(name="logits_range")(FakeQuantLayer("dense", 40, relu=False, name="logits")(x))
    return keras.Model(vector, x, name="fake_quant_dense")


def watch_ranges(model: keras.Model, inputs: npt.NDArray[np.float32]) -> keras.Model:
    """Sets the range of every activation to what passes on some inputs, in place, and returns the model."""
    ranges = [layer for layer in model.layers if isinstance(layer, FakeQuant)]
    for layer in ranges:
        layer.watching = True
    x = inputs
    for layer in model.layers[1:]:  # one after the other, since `model(x)` may run a graph
        x = layer(x)
    for layer in ranges:
        layer.watching = False
    return model


def full_int8(model: keras.Model) -> bytes:
    """The stock full-int8 file of a model whose ranges are set, by tensorflow's own converter and without data."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of missing statistics, which the ranges make up for
        model.export(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return bytes(converter.convert())
