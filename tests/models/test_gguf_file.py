"""Reading GGUF files: weights in the net's order, the tokenizer, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nq_tflite_models.nets.llama import TINY, seeded_weights
from nq_tflite_models.weights.gguf_file import read_gguf

from nq_tflite.errors import ModelSourceError

gguf = pytest.importorskip("gguf", reason="the package gguf reads GGUF files")
tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers splits text")


def side_by_side(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows in GGUF's order: the pairs of a head that turn together are neighbours."""
    halves = matrix.reshape(heads, 2, -1, matrix.shape[1])
    return np.ascontiguousarray(halves.transpose(0, 2, 1, 3)).reshape(matrix.shape)


def write(path: Path, *, architecture: str = "llama", left_out: str = "", quantized: Any = None) -> None:
    """A file of the tiny net's seeded weights, with 254 single letters and two tokens that steer."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(TINY.layers)
    writer.add_embedding_length(TINY.width)
    writer.add_head_count(TINY.heads)
    writer.add_head_count_kv(TINY.key_heads)
    writer.add_feed_forward_length(TINY.hidden)
    writer.add_vocab_size(TINY.vocabulary)
    writer.add_rope_freq_base(TINY.rope_base)
    writer.add_layer_norm_rms_eps(TINY.epsilon)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())[:253]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*letters, "in", "<|im_end|>", "<|im_start|>"])
    writer.add_token_types([1] * 254 + [3] * 2)
    writer.add_token_merges(["i n"])
    for name, values in seeded_weights(TINY).items():
        heads = {"attn_q": TINY.heads, "attn_k": TINY.key_heads}.get(name.split(".")[-2])
        stored = values if heads is None else side_by_side(values, heads)
        if name == left_out:
            continue
        if quantized is not None and stored.ndim > 1:
            writer.add_tensor(name, gguf.quants.quantize(stored, quantized), raw_dtype=quantized)
        else:
            writer.add_tensor(name, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_weights_and_tokenizer(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf")
    model = read_gguf(tmp_path / "tiny.gguf")
    assert model.config.shapes == TINY.shapes
    wanted = seeded_weights(TINY)
    for name, values in model.weights.items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)
    tokenizer = tokenizers.Tokenizer.from_str(model.tokenizer)
    assert tokenizer.encode("<|im_start|>in 12").tokens == ["<|im_start|>", "in", "Ġ", "1", "2"]
    assert tokenizer.decode(tokenizer.encode("in 12").ids) == "in 12"


def test_quantized_weights_are_near(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", quantized=gguf.GGMLQuantizationType.Q8_0)
    wanted = seeded_weights(TINY)
    for name, values in read_gguf(tmp_path / "tiny.gguf").weights.items():
        assert np.abs(values - wanted[name]).max() <= np.abs(wanted[name]).max() / 127, name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"architecture": "gemma"}, "general.architecture 'llama', got 'gemma'"),
        ({"left_out": "blk.1.ffn_up.weight"}, "got none of the name blk.1.ffn_up.weight"),
    ],
)
def test_another_net(tmp_path: Path, options: dict[str, str], says: str) -> None:
    write(tmp_path / "other.gguf", **options)
    with pytest.raises(ModelSourceError, match=says):
        read_gguf(tmp_path / "other.gguf")


def test_a_type_that_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    write(tmp_path / "tiny.gguf")
    monkeypatch.setattr(gguf.quants, "dequantize", refuse)
    with pytest.raises(ModelSourceError, match="a type that the package gguf dequantizes, got F32"):
        read_gguf(tmp_path / "tiny.gguf")


def test_no_gguf_file(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="no such file"):
        read_gguf(tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("no weights at all")
    with pytest.raises(ModelSourceError, match=r"expected a GGUF file, got GGUF magic invalid"):
        read_gguf(tmp_path / "text.gguf")
