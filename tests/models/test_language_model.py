"""A tiny language model: its arithmetic, its two signatures, and precisions that change between two tokens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nq_tflite_models import chat
from nq_tflite_models.language_model import calibration_samples, pack_tokenizer
from nq_tflite_models.measure.token_model import TokenModel
from nq_tflite_models.nets.llama import TINY, LlamaConfig, seeded_weights, write_llama
from nq_tflite_models.perplexity import Losses, losses

import nq_tflite as nq
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.errors import ModelSourceError, NqError
from nq_tflite.graph import flatbuffer as fb

CONTEXT, CHUNK, SEED = 48, 8, 3
GROUP_SIZE = 32
PROMPT = [7, 250, 3, 3, 91, 17, 200, 5, 66, 9, 31]


@pytest.fixture(scope="module")
def folder(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """float.tflite, and nested.tflite with groups of 32."""

    def make(path: Path) -> None:
        write_llama(TINY, seeded_weights(TINY, SEED), path / "float.tflite", context=CONTEXT, chunk=CHUNK)
        text = np.random.default_rng(1).integers(0, TINY.vocabulary, 400).tolist()
        samples = calibration_samples(text, TINY, context=CONTEXT, chunk=CHUNK, count=24)
        target = path / "nested.tflite"
        nq.convert(path / "float.tflite", target, "8|4", lambda: samples, group_size=GROUP_SIZE, progress=None)

    return made_once("language_model", make)


def reference(config: LlamaConfig, weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """Logits [tokens, vocabulary] of a whole text at once, after the paper: each head on its own, complex rotations."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + config.epsilon) * weights[f"{name}.weight"]

    def turned(x: np.ndarray) -> np.ndarray:
        half = config.head_size // 2
        angles = np.outer(np.arange(len(x)), config.rope_base ** -(np.arange(half) / half))
        pairs = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
        return np.concatenate([pairs.real, pairs.imag], axis=1)

    size, share = config.head_size, config.heads // config.key_heads
    x = weights["token_embd.weight"][tokens].astype(np.float64)
    for block in range(config.layers):
        name, heads = f"blk.{block}", []
        y = norm(x, f"{name}.attn_norm")
        q, k, v = (y @ weights[f"{name}.attn_{part}.weight"].T for part in "qkv")
        for head in range(config.heads):
            ours, theirs = (
                slice(head * size, (head + 1) * size),
                slice(head // share * size, (head // share + 1) * size),
            )
            scores = turned(q[:, ours]) @ turned(k[:, theirs]).T / np.sqrt(size)
            scores[np.triu_indices(len(tokens), 1)] = -np.inf
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, theirs])
        x = x + np.concatenate(heads, axis=1) @ weights[f"{name}.attn_output.weight"].T
        y = norm(x, f"{name}.ffn_norm")
        gate, up = (y @ weights[f"{name}.ffn_{part}.weight"].T for part in ("gate", "up"))
        x = x + gate / (1 + np.exp(-gate)) * up @ weights[f"{name}.ffn_down.weight"].T
    return np.asarray(norm(x, "output_norm") @ weights["token_embd.weight"].T)


def test_the_float_net_is_llama_in_pieces_and_token_by_token(folder: Path) -> None:
    model = TokenModel(load_runtime(None).interpreter(model_path=str(folder / "float.tflite")))
    assert (model.chunk, model.context) == (CHUNK, CONTEXT)
    tokens = [*PROMPT, 44, 12]
    found = np.concatenate([model.feed(PROMPT), *(model.feed([token]) for token in tokens[len(PROMPT) :])])
    wanted = reference(TINY, seeded_weights(TINY, SEED), tokens)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-4 * np.abs(wanted).max())
    assert model.cache.position == len(tokens)


@pytest.mark.parametrize("name", ["float", "nested"])
def test_both_signatures_read_the_same_weights(folder: Path, name: str) -> None:
    model = fb.read_model(folder / f"{name}.tflite").model
    assert [fb.text(each.name) for each in model.subgraphs] == ["prefill", "decode"]
    large = []
    for graph in model.subgraphs:
        buffers = {each.buffer: model.buffers[each.buffer].data for each in graph.tensors}
        large.append({number: len(data) for number, data in buffers.items() if data is not None and len(data) > 1000})
    assert large[0] == large[1]
    matrices = sum(np.prod(shape) for shape in TINY.shapes.values() if len(shape) > 1)
    assert 0 <= sum(large[0].values()) - (4 if name == "float" else 1) * matrices < 0.03 * matrices


def test_tokens_after_a_switch_are_those_of_a_fresh_run(folder: Path) -> None:
    path = folder / "nested.tflite"
    interpreter = nq.Interpreter(path, num_threads=1)
    generation = chat.Generation(interpreter, keep=True)
    for count, _ in enumerate(generation.tokens(PROMPT, 24), 1):
        if count in (6, 15):
            interpreter.precision = {6: "part", 15: "full"}[count]
    assert [(each.bits, len(each.scores)) for each in generation.segments] == [(8, 5), (4, 9), (8, 10)]
    assert chat.differing_tokens(path, generation.segments, threads=1) == [0, 0, 0]
    wrong = [replace(each, bits=12 - each.bits) for each in generation.segments]
    assert all(chat.differing_tokens(path, wrong, threads=1))


def test_full_bit_is_nearer_than_part_bit_and_both_near_the_source(folder: Path) -> None:
    text = np.random.default_rng(2).integers(0, TINY.vocabulary, 200).tolist()
    stock = TokenModel(load_runtime(None).interpreter(model_path=str(folder / "float.tflite")))
    exact = losses(stock, text, 16, 8)
    interpreter = nq.Interpreter(folder / "nested.tflite")
    model, off = TokenModel(interpreter), {}
    for bits in interpreter.levels:
        interpreter.precision = bits
        off[bits] = np.abs(losses(model, text, 16, 8).sums - exact.sums).mean() / 15
    assert off[8] < 0.05
    assert 2 * off[8] < off[4] < 0.2


def test_perplexity_and_its_interval() -> None:
    even = Losses(np.log([2.0, 2.0]) * 10, np.array([10, 10]))
    assert even.perplexity == pytest.approx(2)
    assert even.ratio(even) == (1, 0)
    worse = Losses(even.sums + 1, even.counts)
    assert worse.ratio(even) == (pytest.approx(np.exp(0.1)), 0)


@pytest.fixture(scope="module")
def spoken(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nested net with a tokenizer of single bytes behind it."""
    tokenizers = pytest.importorskip("tokenizers")
    split = tokenizers.pre_tokenizers.ByteLevel
    letters = {letter: number for number, letter in enumerate(sorted(split.alphabet())[:254])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE({**letters, "<|im_end|>": 254, "<|im_start|>": 255}, []))
    made.pre_tokenizer, made.decoder = split(add_prefix_space=False), tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|im_end|>", "<|im_start|>"])
    path = tmp_path_factory.mktemp("spoken") / "model.tflite"
    write_llama(TINY, seeded_weights(TINY, SEED), path.with_name("float.tflite"), context=256, chunk=64)
    pack_tokenizer(path.with_name("float.tflite"), made.to_str())
    nq.convert(path.with_name("float.tflite"), path, "8|4", rounding="nearest", group_size=GROUP_SIZE, progress=None)
    return path


def test_the_command_switches_and_verifies(spoken: Path) -> None:
    command = [sys.executable, "-m", "nq_tflite_models.chat", spoken, "--ask", "Hi", "--tokens", "12", "--verify"]
    done = subprocess.run([*command, "--switch-at", "4:part,9:8"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[after 4 tokens: 8 to 4 bits: " in done.stdout
    assert "[after 9 tokens: 4 to 8 bits: " in done.stdout
    assert done.stdout.count("computed anew: 0 differ") == 3


@pytest.mark.parametrize(("plan", "got"), [("4:five", "4:five"), ("x:4", "x:4"), ("4", "4")])
def test_a_plan_that_is_none(plan: str, got: str) -> None:
    with pytest.raises(NqError, match=f"got '{got}'"):
        chat.planned_switches(plan)


def test_more_tokens_than_the_context_has(folder: Path) -> None:
    model = TokenModel(load_runtime(None).interpreter(model_path=str(folder / "float.tflite")))
    model.feed(PROMPT)
    with pytest.raises(NqError, match="1 to 37, what is left of 48, got 38"):
        model.feed([1] * 38)


def test_a_file_of_another_kind() -> None:
    classifier = SimpleNamespace(get_signature_list=lambda: {"serving_default": {}})
    with pytest.raises(ModelSourceError, match="signatures 'prefill' and 'decode', got serving_default"):
        TokenModel(classifier)


def test_speed_has_a_line_for_each_precision_and_one_for_the_switches(folder: Path) -> None:
    command = [sys.executable, "-m", "nq_tflite_models.token_speed", folder / "float.tflite", folder / "nested.tflite"]
    done = subprocess.run([*command, "--rounds", "2", "--tokens", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert names == ["float.tflite", "nested.tflite at 8 bits", "nested.tflite at 4 bits", "nested.tflite"]
    assert "(1.00 x), decode" in done.stdout.splitlines()[0]
