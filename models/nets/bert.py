"""BERT (arXiv 1810.04805) as an encoder of sentences (arXiv 1908.10084), such as paraphrase-MiniLM-L3-v2: trained
weights from a file, or seeded ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
from nq_tflite_models.nets.layer_norm import LayerNorm
from nq_tflite_models.nets.seeded import set_seeded_weights
from nq_tflite_models.nets.transformers import LearnedOffset, attention
from nq_tflite_models.weights.encoder_file import Array, read_encoder

from nq_tflite.errors import ModelSourceError

#: Of BERT's layer norms.
_EPSILON = 1e-12
#: What is added to the scores of padding, before their softmax.
_PADDING = -1e4


@dataclass(frozen=True)
class BertSize:
    """Sizes of a BERT.

    Attributes:
        blocks: of attention and two dense layers; width: of a token's vector.
        hidden: width between the two dense layers; vocabulary: number of different tokens.
    """

    blocks: int
    width: int
    hidden: int
    vocabulary: int


#: paraphrase-MiniLM-L3-v2; it has 12 heads.
MINILM_L3 = BertSize(blocks=3, width=384, hidden=1536, vocabulary=30522)


def sentence_encoder(
    weights: Path | None = None, *, tokens: int = 64, heads: int = 12, size: BertSize = MINILM_L3, seed: int = 0
) -> keras.Model:
    """A BERT whose last vectors are averaged over a sentence's tokens, for cosine similarities.

    Args:
      weights: trained ones, a .onnx, .safetensors, .bin or .pth file with the names that Hugging Face's BertModel has;
        seeded ones if None.
      tokens: length that sentences are cut or padded to.
      heads: of attention, which no file of weights tells.
      size, seed: of seeded weights; a file's size is read from it.

    Returns:
      A model from int32 [N, tokens], numbers of tokens, and int32 [N, tokens], 1 for a token and 0 for padding, to
      float32 [N, width].

    Raises:
      ModelSourceError: the file cannot be read, or is of another net.
      MissingPackageError: the package that reads such a file is not installed.

    Example:
      sentence_encoder(Path("paraphrase-MiniLM-L3-v2.onnx")).output_shape  # (None, 384)
    """
    named = None if weights is None else read_encoder(weights)
    if named is not None and weights is not None:
        size = _size_of(named, weights)
    ids = keras.Input((tokens,), dtype="int32", name="input_ids")
    mask = keras.Input((tokens,), dtype="int32", name="attention_mask")
    x = keras.layers.Embedding(size.vocabulary, size.width, name="words")(ids)
    x = LayerNorm(epsilon=_EPSILON, name="words_norm")(LearnedOffset(name="positions")(x))
    for block in range(size.blocks):
        name = f"block_{block}"
        y = attention(x, heads, f"{name}_attention", _Masked(PaddingMask(name=f"{name}_mask"), mask))
        x = LayerNorm(epsilon=_EPSILON, name=f"{name}_norm_0")(keras.layers.Add(name=f"{name}_add_0")([x, y]))
        y = keras.layers.Dense(size.hidden, activation="gelu", name=f"{name}_hidden")(x)
        y = keras.layers.Dense(size.width, name=f"{name}_project")(y)
        x = LayerNorm(epsilon=_EPSILON, name=f"{name}_norm_1")(keras.layers.Add(name=f"{name}_add_1")([x, y]))
    model = keras.Model([ids, mask], MaskedMean(name="mean")([x, mask]), name="sentence_encoder")
    if named is None or weights is None:
        return set_seeded_weights(model, seed)
    _set_weights(model, named, size, weights)
    return model


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class PaddingMask(keras.layers.Layer):
    """Keeps padding out of a softmax of scores."""

    def call(self, inputs: Any) -> Any:
        """Scores [N, heads, tokens, tokens] and the mask [N, tokens] to scores."""
        scores, mask = inputs
        return scores + ((1.0 - keras.ops.cast(mask, scores.dtype)) * _PADDING)[:, None, None, :]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the scores."""
        return input_shape[0]


@keras.saving.register_keras_serializable(package="nq_tflite_models")
class MaskedMean(keras.layers.Layer):
    """The mean of the vectors that are not padding."""

    def call(self, inputs: Any) -> Any:
        """Vectors [N, tokens, width] and the mask [N, tokens] to [N, width]."""
        x, mask = inputs
        mask = keras.ops.cast(mask, x.dtype)[:, :, None]
        return keras.ops.sum(x * mask, axis=1) / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1e-9)


class _Masked(NamedTuple):
    """What `attention` calls with scores."""

    layer: PaddingMask
    mask: keras.KerasTensor

    def __call__(self, scores: keras.KerasTensor) -> keras.KerasTensor:
        return self.layer([scores, self.mask])


# ---- weights of a file -----------------------------------------------------------------------------------------------


def _size_of(named: Mapping[str, Array], path: Path) -> BertSize:
    (vocabulary, width), blocks = _tensor(named, "embeddings.word_embeddings.weight", path).shape, 0
    while f"encoder.layer.{blocks}.output.dense.weight" in named:
        blocks += 1
    hidden = len(_tensor(named, "encoder.layer.0.intermediate.dense.bias", path))
    return BertSize(blocks, width, hidden, vocabulary)


def _set_weights(model: keras.Model, named: Mapping[str, Array], size: BertSize, path: Path) -> None:
    def set_layer(name: str, *values: Array) -> None:
        layer = model.get_layer(name)
        expected, got = [tuple(each.shape) for each in layer.weights], [each.shape for each in values]
        if expected != got:
            raise ModelSourceError(f"weights {path} for layer {name}", expected=f"shapes {expected}", got=f"{got}")
        layer.set_weights(values)

    def set_norm(name: str, theirs: str) -> None:
        set_layer(name, *(_tensor(named, f"{theirs}.{each}", path) for each in ("weight", "bias")))

    def set_dense(name: str, theirs: str) -> None:
        set_layer(name, _tensor(named, f"{theirs}.weight", path).T, _tensor(named, f"{theirs}.bias", path))

    set_layer("words", _tensor(named, "embeddings.word_embeddings.weight", path))
    positions = _tensor(named, "embeddings.position_embeddings.weight", path)[: model.input_shape[0][1]]
    set_layer("positions", positions + _tensor(named, "embeddings.token_type_embeddings.weight", path)[0])
    set_norm("words_norm", "embeddings.LayerNorm")
    for block in range(size.blocks):
        ours, theirs = f"block_{block}", f"encoder.layer.{block}"
        for part in ("query", "key", "value"):
            set_dense(f"{ours}_attention_{part}", f"{theirs}.attention.self.{part}")
        set_dense(f"{ours}_attention_out", f"{theirs}.attention.output.dense")
        set_norm(f"{ours}_norm_0", f"{theirs}.attention.output.LayerNorm")
        set_dense(f"{ours}_hidden", f"{theirs}.intermediate.dense")
        set_dense(f"{ours}_project", f"{theirs}.output.dense")
        set_norm(f"{ours}_norm_1", f"{theirs}.output.LayerNorm")


def _tensor(named: Mapping[str, Array], name: str, path: Path) -> Array:
    if name not in named:
        raise ModelSourceError(f"weights {path}", expected=f"a BertModel's tensor {name}", got="none of that name")
    return named[name]
