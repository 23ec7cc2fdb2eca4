"""MLP-Mixer S/16 (Tolstikhin et al., arXiv 2105.01601), untrained: dense layers and transposes."""

from __future__ import annotations

import keras
from nq_tflite_models.nets.layer_norm import LayerNorm
from nq_tflite_models.nets.seeded import set_seeded_weights

PATCH, CHANNELS, BLOCKS = 16, 512, 8
TOKEN_HIDDEN, CHANNEL_HIDDEN = 256, 2048


def mlp_mixer(seed: int = 0, image_size: int = 224, blocks: int = BLOCKS) -> keras.Model:
    """Builds Mixer-S/16 with seeded weights.

    Args:
      image_size: a multiple of 16; the tokens are its 16 x 16 patches.
      blocks: token mixing with channel mixing; 8 in the paper.

    Returns:
      A model from float32 [N, image_size, image_size, 3] to logits [N, 1000].

    Example:
      mlp_mixer(image_size=32, blocks=1).output_shape  # (None, 1000)
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = keras.layers.Conv2D(CHANNELS, PATCH, PATCH, name="patches")(inputs)
    tokens = (image_size // PATCH) ** 2
    x = keras.layers.Reshape((tokens, CHANNELS), name="tokens")(x)
    for index in range(blocks):
        y = LayerNorm(epsilon=1e-6, name=f"block_{index}_token_norm")(x)
        y = keras.layers.Permute((2, 1), name=f"block_{index}_to_tokens")(y)
        y = _mlp(y, TOKEN_HIDDEN, tokens, f"block_{index}_token")
        y = keras.layers.Permute((2, 1), name=f"block_{index}_to_channels")(y)
        x = keras.layers.Add(name=f"block_{index}_token_add")([x, y])
        y = LayerNorm(epsilon=1e-6, name=f"block_{index}_channel_norm")(x)
        y = _mlp(y, CHANNEL_HIDDEN, CHANNELS, f"block_{index}_channel")
        x = keras.layers.Add(name=f"block_{index}_channel_add")([x, y])
    x = LayerNorm(epsilon=1e-6, name="norm")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    logits = keras.layers.Dense(1000, name="logits")(x)
    return set_seeded_weights(keras.Model(inputs, logits, name="mlp_mixer"), seed)


def _mlp(x: keras.KerasTensor, hidden: int, out: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Dense(hidden, activation="gelu", name=f"{name}_expand")(x)
    return keras.layers.Dense(out, name=f"{name}_project")(x)
