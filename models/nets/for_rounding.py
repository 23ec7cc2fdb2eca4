"""Small nets of every kind to compare rounding on, with seeded weights: those that tables show, and others to tune on.

What a threshold is chosen on must not be what shows that it is good, so the two sets share neither sizes nor seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import keras
from nq_tflite_models.nets.ds_cnn import ds_cnn
from nq_tflite_models.nets.fake_quant import fake_quant_conv, fake_quant_dense, watch_ranges
from nq_tflite_models.nets.families import CUTS
from nq_tflite_models.nets.seeded import model_inputs, set_seeded_weights, settle_batch_norms
from nq_tflite_models.nets.sequences import recurrent_net
from nq_tflite_models.nets.shared_layers import siamese_conv, siamese_dense, time_distributed
from nq_tflite_models.nets.small import mixed_net
from nq_tflite_models.nets.transformers import swin, vit

_NUM_SETTLING = 64


@dataclass(frozen=True)
class RoundingNet:
    """A net to round.

    Attributes:
      make: builds it, without weights that matter.
      seed: of its weights.
      fake_quant: whether it is as quantization-aware training leaves it.
    """

    make: Callable[[], keras.Model]
    seed: int
    fake_quant: bool = False

    def build(self) -> keras.Model:
        """With seeded weights, and moments and ranges of the inputs that it may see."""
        model = set_seeded_weights(self.make(), self.seed)
        inputs = model_inputs(model, _NUM_SETTLING, self.seed)
        settle_batch_norms(model, inputs if len(inputs) > 1 else inputs[0])
        return watch_ranges(model, inputs[0]) if self.fake_quant else model


def dense(units: Sequence[int], activation: str = "relu") -> keras.Model:
    """Dense layers, the last one without an activation: float32 [N, units[0]] to [N, units[-1]].

    Example:
      dense((64, 256, 64)).count_params()  # 33088
    """
    vector = x = keras.Input((units[0],), name="vector")
    for number, each in enumerate(units[1:]):
        last = number == len(units) - 2
        x = keras.layers.Dense(each, activation=None if last else activation, name=f"dense_{number}")(x)
    return keras.Model(vector, x, name="dense")


def conv(width: int = 64) -> keras.Model:
    """Three convolutions, averaged, and a dense layer: float32 [N, 32, 32, 3] to [N, 64]."""
    image = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(width, 3, strides=2, activation="relu", name="conv_0")(image)
    x = keras.layers.Conv2D(2 * width, 3, strides=2, activation="relu", name="conv_1")(x)
    x = keras.layers.Conv2D(2 * width, 3, activation="relu", name="conv_2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(64, name="logits")(x), name="conv")


NETS: dict[str, RoundingNet] = {
    "dense": RoundingNet(partial(dense, (64, 256, 256, 64)), 1),
    "siamese dense": RoundingNet(siamese_dense, 1),
    "siamese conv": RoundingNet(partial(siamese_conv, 16), 1),
    "time distributed": RoundingNet(time_distributed, 1),
    "conv": RoundingNet(partial(conv, 32), 1),
    "depthwise conv": RoundingNet(partial(mixed_net, width=3), 1),
    "QAT conv": RoundingNet(fake_quant_conv, 1, fake_quant=True),
    "QAT dense": RoundingNet(fake_quant_dense, 1, fake_quant=True),
    "ViT": RoundingNet(vit, 1),
    "Swin": RoundingNet(swin, 1),
}
"""What the tables show."""

TUNING_NETS: dict[str, RoundingNet] = {
    "dense": RoundingNet(partial(dense, (96, 160, 160, 160, 32)), 11),
    "tanh": RoundingNet(partial(dense, (200, 300, 50), "tanh"), 12),
    "siamese dense": RoundingNet(partial(siamese_dense, 96), 13),
    "siamese conv": RoundingNet(partial(siamese_conv, 24), 14),
    "recurrent": RoundingNet(partial(recurrent_net, "GRU", unroll=True), 15),
    "speech": RoundingNet(partial(ds_cnn, "small"), 16),
    "resnet": RoundingNet(CUTS["resnet"].build, 17),
    "mobilenet": RoundingNet(CUTS["mobilenet_v2"].build, 18),
    "QAT conv": RoundingNet(partial(fake_quant_conv, 24), 19, fake_quant=True),
    "QAT dense": RoundingNet(partial(fake_quant_dense, 200), 20, fake_quant=True),
}
"""What thresholds are chosen on."""
