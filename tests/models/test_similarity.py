"""A sentence encoder with weights of a file, and `python -m nq_tflite_models.similarity`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from nq_tflite_models.measure.sentence_pairs import Tokenizer, read_pairs
from nq_tflite_models.measure.similarity import compare_similarities, similarities
from nq_tflite_models.nets.bert import BertSize, sentence_encoder
from nq_tflite_models.similarity import similarity
from numpy.typing import NDArray
from state_dicts import saved_state_dict

from nq_tflite.errors import ModelSourceError, NqError
from nq_tflite.progress import silent

Array = NDArray[Any]
SIZE = BertSize(blocks=2, width=32, hidden=64, vocabulary=50)
HEADS, TOKENS, POSITIONS = 4, 6, 16
#: A word's number is its line's, from 0.
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog", "sleeps", "runs", "##ning", "."]
NEEDS_TEXT = "tokens and .onnx need pip install '.[text]'"
erf = np.vectorize(math.erf)


def hugging_face_weights(prefix: str = "") -> dict[str, Array]:
    """Random weights by the names and in the axes of Hugging Face's BertModel."""
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {}

    def dense(name: str, outputs: int, inputs: int) -> None:
        found[f"{name}.weight"] = rng.normal(0, inputs**-0.5, (outputs, inputs))
        found[f"{name}.bias"] = rng.normal(0, 0.1, outputs)

    def norm(name: str) -> None:
        found[f"{name}.weight"] = rng.uniform(0.5, 1.5, SIZE.width)
        found[f"{name}.bias"] = rng.normal(0, 0.1, SIZE.width)

    for name, count in (("word", SIZE.vocabulary), ("position", POSITIONS), ("token_type", 2)):
        found[f"embeddings.{name}_embeddings.weight"] = rng.normal(0, 1, (count, SIZE.width))
    norm("embeddings.LayerNorm")
    for block in range(SIZE.blocks):
        name = f"encoder.layer.{block}"
        for part in ("query", "key", "value"):
            dense(f"{name}.attention.self.{part}", SIZE.width, SIZE.width)
        dense(f"{name}.attention.output.dense", SIZE.width, SIZE.width)
        norm(f"{name}.attention.output.LayerNorm")
        dense(f"{name}.intermediate.dense", SIZE.hidden, SIZE.width)
        dense(f"{name}.output.dense", SIZE.width, SIZE.hidden)
        norm(f"{name}.output.LayerNorm")
    return {f"{prefix}{name}": values.astype(np.float32) for name, values in found.items()}


def as_bert(weights: Mapping[str, Array], ids: Array) -> Array:
    """The mean vector [width] of a sentence [tokens] without padding, by the arithmetic of BERT's paper."""

    def dense(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        centred /= np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-12)
        return centred * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x: Array) -> Array:
        return x.reshape(len(ids), HEADS, -1).transpose(1, 0, 2)

    tables = [weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")]
    x = norm(tables[0][ids] + tables[1][: len(ids)] + tables[2][0], "embeddings.LayerNorm")
    for block in range(SIZE.blocks):
        name = f"encoder.layer.{block}"
        query, key, value = (heads(dense(x, f"{name}.attention.self.{each}")) for each in ("query", "key", "value"))
        scores = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(SIZE.width / HEADS))
        y = (scores / scores.sum(axis=-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + dense(y, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        y = dense(x, f"{name}.intermediate.dense")
        y = y * (1 + erf(y / math.sqrt(2))) / 2
        x = norm(x + dense(y, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return np.asarray(x.mean(axis=0))


def sentences(count: int, seed: int) -> dict[str, Array]:
    """Numbers of tokens, each sentence of its own length."""
    rng = np.random.default_rng(seed)
    mask = (np.arange(TOKENS) < rng.integers(2, TOKENS + 1, (count, 1))).astype(np.int32)
    return {"input_ids": rng.integers(1, SIZE.vocabulary, mask.shape).astype(np.int32) * mask, "attention_mask": mask}


def check_encoder(path: Path, weights: Mapping[str, Array]) -> None:
    model, inputs = sentence_encoder(path, tokens=TOKENS, heads=HEADS), sentences(4, seed=1)
    found = np.asarray(model([inputs["input_ids"], inputs["attention_mask"]]))
    for ids, mask, vector in zip(*inputs.values(), found, strict=True):
        np.testing.assert_allclose(vector, as_bert(weights, ids[mask > 0]), atol=2e-6)


def test_an_encoder_with_weights_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(saved_state_dict(hugging_face_weights("bert.")))
    check_encoder(path, hugging_face_weights())


def test_weights_of_safetensors(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason=NEEDS_TEXT)
    numpy.save_file(hugging_face_weights(), tmp_path / "model.safetensors")
    check_encoder(tmp_path / "model.safetensors", hugging_face_weights())


def test_weights_of_onnx(tmp_path: Path) -> None:
    """As PyTorch's exporter writes them: matrices transposed, and known by the name of their node alone."""
    onnx = pytest.importorskip("onnx", reason=NEEDS_TEXT)
    constants, nodes = [], []
    for name, values in hugging_face_weights("model.0.auto_model.").items():
        if name.endswith(("dense.weight", "query.weight", "key.weight", "value.weight")):
            constants.append(onnx.numpy_helper.from_array(values.T.copy(), f"onnx::MatMul_{len(nodes)}"))
            node = f"/{name.removesuffix('.weight').replace('.', '/')}/MatMul"
            nodes.append(onnx.helper.make_node("MatMul", ["x", constants[-1].name], [f"y{len(nodes)}"], name=node))
        else:
            constants.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "bert", [], [], constants)), tmp_path / "bert.onnx")
    check_encoder(tmp_path / "bert.onnx", hugging_face_weights())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.h5", b"", r"a \.onnx, .* or \.pth file, got \.h5"),
        ("weights.bin", b"no", "PyTorch state dict"),
        ("none.onnx", None, "No such file|the package onnx"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(NqError, match=message):
        sentence_encoder(tmp_path / name)


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    weights, path = hugging_face_weights(), tmp_path / "pytorch_model.bin"
    weights["encoder.layer.1.output.dense.bias"] = np.zeros(5, np.float32)
    path.write_bytes(saved_state_dict(weights))
    with pytest.raises(
        ModelSourceError, match=r"layer block_1_project: expected shapes .*, got \[\(64, 32\), \(5,\)\]"
    ):
        sentence_encoder(path, tokens=TOKENS, heads=HEADS)
    del weights["embeddings.LayerNorm.weight"]
    path.write_bytes(saved_state_dict(weights))
    with pytest.raises(ModelSourceError, match=r"a BertModel's tensor embeddings\.LayerNorm\.weight"):
        sentence_encoder(path, tokens=TOKENS, heads=HEADS)


# ---- pairs and tokens ------------------------------------------------------------------------------------------------


def test_pairs_of_semeval(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(
        '4.4\tTwo "big cats.\tTwo cats.\n\tA dog.\tA man.\n0\tA dog.\tA car.\n1.5\tx\ty\n', encoding="utf-8"
    )
    pairs = read_pairs(path)
    assert pairs.pairs[0] == ('Two "big cats.', "Two cats.")
    assert pairs.judged().scores.tolist() == [4.4, 0, 1.5]
    drawn, rest = pairs.drawn(1, seed=0)
    assert (len(drawn), len(rest)) == (1, 3)
    assert sorted([*drawn.pairs, *rest.pairs]) == sorted(pairs.pairs)
    assert rest.sentences() == [sentence for pair in rest.pairs for sentence in pair]


def test_pairs_of_sick(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    rows = "".join(f"{number}\tA cat\tA dog\t{number / 2}\tNEUTRAL\n" for number in range(3))
    path.write_text(
        f"pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n{rows}", encoding="utf-8"
    )
    assert read_pairs(path).scores.tolist() == [0, 0.5, 1]
    assert read_pairs(path).pairs == (("A cat", "A dog"),) * 3


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("1\ta\tb\n", "1 lines, the shortest of 3 columns"),
        ("1\ta\tb\n" * 3 + "1\ta\n", "4 lines, the shortest of 2 columns"),
        ("much\ta\tb\n" * 3, "could not convert string to float: 'much'"),
    ],
)
def test_what_is_no_file_of_pairs(text: str, got: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelSourceError, match=got):
        read_pairs(path)


def test_tokens(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason=NEEDS_TEXT)
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    found = Tokenizer(path, 7)(["A cat runs.", "A runsning dog sleeps and a cat"])
    assert found["input_ids"].tolist() == [[2, 4, 5, 8, 10, 3, 0], [2, 4, 8, 9, 6, 7, 3]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0], [1] * 7]
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelSourceError, match=r"a tokenizer\.json or a BERT's vocab\.txt"):
        Tokenizer(tmp_path / "tokenizer.json", 7)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_similarities_are_cosines() -> None:
    vectors = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [1.0, -1.0]])
    np.testing.assert_allclose(similarities(vectors), [1, -(0.5**0.5)])


@pytest.mark.slow
def test_rows_of_a_seeded_encoder() -> None:
    """Every nested weight counts, so similarities at 8 bits are nearer to the float model's than those at 2."""
    model = sentence_encoder(tokens=TOKENS, heads=HEADS, size=replace(SIZE, blocks=1))
    inputs, calibration = sentences(24, seed=2), sentences(16, seed=3)
    scores = np.arange(12.0)
    rows = compare_similarities(model, inputs, scores, calibration, nestings=["8|2"], progress=silent)
    assert [(row.file, row.bits) for row in rows] == [
        ("float", None),
        ("stock dynamic range", None),
        ("nested", 2),
        ("nested", 8),
        ("nested, nearest codes", 2),
        ("nested, nearest codes", 8),
    ]
    exact, stock, part, full, plain_part, plain_full = rows
    assert exact.spearman is not None
    assert exact.less_float is not None
    assert part.spearman is not None
    assert (exact.snr_db, exact.spearman.value, exact.less_float.value) == (math.inf, pytest.approx(1), 0)
    assert min(row.snr_db or 0 for row in (stock, full, plain_full)) > 25
    assert max(row.snr_db or 0 for row in (part, plain_part)) < 20
    assert part.spearman.low <= part.spearman.value <= part.spearman.high
    assert part.bytes < full.bytes
    assert json.dumps([row.as_dict() for row in rows])


def test_command_needs_weights(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").touch()
    result = CliRunner().invoke(similarity, [str(tmp_path / "pairs.tsv")])
    assert result.exit_code == 2
    assert "--weights" in result.output
