"""A tiny language model: its arithmetic, its two signatures, and precisions that change between two tokens."""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nq_tflite_models import chat
from nq_tflite_models.language_model import calibration_samples, pack_tokenizer
from nq_tflite_models.measure.token_model import TokenModel, read_tokenizer
from nq_tflite_models.nets.llama import (
    TABLE,
    TINY,
    Llama,
    LlamaConfig,
    column_shares,
    fine_blocks,
    mean_columns,
    seeded_weights,
    with_block_means,
    write_llama,
)
from nq_tflite_models.perplexity import Losses, losses

import nq_tflite as nq
from nq_tflite.conversion.rounding import RoundingTask, nearest
from nq_tflite.conversion.rounding.group_ratios import fitted_group_ratios
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.errors import ModelSourceError, NqError
from nq_tflite.format.groups import spread, storable
from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.govern.sensors import Sensors
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested

CONTEXT, CHUNK, SEED = 256, 8, 3
GROUP_SIZE, FREQUENT = 32, 96
PROMPT = [7, 250, 3, 3, 91, 17, 200, 5, 66, 9, 31]


@pytest.fixture(scope="module")
def folder(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """float.tflite with means of blocks and a table in two parts, and nested.tflite with groups of 32."""

    def make(path: Path) -> None:
        sizes = {"context": CONTEXT, "chunk": CHUNK, "block_means": GROUP_SIZE, "frequent": FREQUENT}
        write_llama(TINY, seeded_weights(TINY, SEED), path / "float.tflite", **sizes)
        text = np.random.default_rng(1).integers(0, TINY.vocabulary, 400).tolist()
        samples = calibration_samples(text, TINY, context=CONTEXT, chunk=CHUNK, count=24)
        target = path / "nested.tflite"
        options = {"group_size": GROUP_SIZE, "layer_bits": {TABLE: "8|6"}, "progress": None}
        nq.convert(path / "float.tflite", target, "8|4", lambda: samples, **options)

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
        large.append({number: len(data) for number, data in buffers.items() if data is not None and len(data) > 1100})
    assert large[0] == large[1]
    net = Llama(TINY, seeded_weights(TINY, SEED), block_means=GROUP_SIZE, frequent=FREQUENT)
    matrices = sum(np.prod(weight.shape) for weight in net.table.values() if len(weight.shape) > 1)
    assert 0 <= sum(large[0].values()) - (4 if name == "float" else 1) * matrices < 0.03 * matrices


def test_the_table_has_bits_of_its_own_and_weights_their_names(folder: Path) -> None:
    nestings = {weight.name: str(weight.nesting) for weight in read_nested(folder / "nested.tflite").weights}
    assert nestings.pop(TABLE) == "8|6"
    assert nestings.pop("token_embd_rare.weight") == "8|4"
    assert set(nestings) == {name for name, shape in TINY.shapes.items() if len(shape) > 1} - {TABLE}
    assert set(nestings.values()) == {"8|4"}


def at_four_bits(weights: np.ndarray) -> np.ndarray:
    """The values at part-bit of 8|4 with groups, rounded to nearest."""
    scales = storable(np.abs(weights).reshape(len(weights), -1, GROUP_SIZE).max(axis=2) / 127)
    task = RoundingTask(weights / spread(scales, weights.shape[1]), 1, Nesting.parse("8|4"), (), scales)
    real = spread(storable(scales * fitted_group_ratios(task)), weights.shape[1])
    return np.asarray(value_at(nearest(replace(task, target=weights / real)), task.nesting, 0) * real)


def test_offsets_of_blocks_are_kept_to_a_thirtieth_of_what_rounding_them_away_costs() -> None:
    """Weights of four bits with an offset for each block, as GGUF's Q4_1 has them, at part-bit."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (64, 18, GROUP_SIZE))
    codes[:, :, 0], codes[:, :, 1] = 0, 15
    steps = rng.uniform(0.5, 2, (64, 18, 1))
    matrix = (steps * codes - steps * rng.uniform(6, 9, (64, 18, 1))).reshape(64, -1).astype(np.float32)
    x = rng.normal(size=(256, matrix.shape[1])).astype(np.float32)
    means = x.reshape(len(x), 18, GROUP_SIZE).mean(axis=2)
    fine, zeros = mean_columns(18, GROUP_SIZE)
    has_fine = fine_blocks(18, fine)
    assert (zeros, has_fine.sum()) == (0, 14)
    inputs = np.concatenate([x, means[:, has_fine], means * np.where(has_fine, 1 / 8, 1 / 2)], axis=1)
    wide, exact = with_block_means(matrix, GROUP_SIZE), x @ matrix.T
    np.testing.assert_allclose(inputs @ wide.T, exact, atol=1e-4 * np.abs(exact).max())

    def error(weights: np.ndarray, x: np.ndarray) -> float:
        return float(np.square(x @ at_four_bits(weights).T - exact).mean())

    assert 30 * error(wide, inputs) < error(matrix, x)


def test_a_table_with_large_columns_loses_less_than_half_as_much() -> None:
    rng = np.random.default_rng(4)
    table = rng.normal(size=(256, 8 * GROUP_SIZE)).astype(np.float32)
    table[:, ::GROUP_SIZE] *= 5
    shares = column_shares(table)
    alone = np.square(at_four_bits(table) - table).sum()
    assert 2 * np.square(at_four_bits(table * shares) / shares - table).sum() < alone


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
    tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers splits text")
    split = tokenizers.pre_tokenizers.ByteLevel
    letters = {letter: number for number, letter in enumerate(sorted(split.alphabet())[:254])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE({**letters, "<|im_end|>": 254, "<|im_start|>": 255}, []))
    made.pre_tokenizer, made.decoder = split(add_prefix_space=False), tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|im_end|>", "<|im_start|>"])
    path = tmp_path_factory.mktemp("spoken") / "model.tflite"
    shutil.copy(folder / "nested.tflite", path)
    pack_tokenizer(path, made.to_str())
    return path


def test_typed_lines_switch_between_two_tokens(spoken: Path) -> None:
    interpreter = nq.Interpreter(spoken, num_threads=1)
    typed: queue.Queue[str | None] = queue.Queue()
    conversation = chat.Conversation(interpreter, read_tokenizer(spoken), typed=typed)
    for line in ("/part", "/5", "/full", None):
        typed.put(line)
    said = "".join(conversation.answer("Hi", 3, {2: "4"}))
    switches = re.findall(r"\n\[after (\d) tokens: (.*)\]\n", said)
    assert [(count, text.split(":")[0]) for count, text in switches] == [
        ("1", "8 to 4 bits"),
        ("1", "precision"),
        ("1", "4 to 8 bits"),
        ("2", "8 to 4 bits"),
    ]
    assert "expected 'full', 'part' or one of [4, 8] bits, got 5." in said
    assert typed.get_nowait() is None  # the end of what is typed ends the questions


def test_a_governor_switches_between_two_tokens(spoken: Path) -> None:
    interpreter = nq.Interpreter(spoken, num_threads=1)

    class Warmth(Sensors):
        def read(self, names: Iterable[str] = ()) -> dict[str, float]:
            fed = sum(len(each.scores) for each in conversation.generation.segments)
            return {"warmth": 5 if 2 <= fed < 5 else 0}

    warm = nq.Policy("warm", rules=(nq.Rule("warmth", above=2, until=1),), dwell_seconds=0)
    governor = nq.Governor(interpreter, warm, sensors=Warmth())
    conversation = chat.Conversation(interpreter, read_tokenizer(spoken), governor, keep=True)
    said = "".join(conversation.answer("Hi", 9, {}))
    switches = re.findall(r"after (\d) tokens: (\d) to (\d) bits, (.*): [\d.]+ MB in [\d.]+ ms", said)
    assert [each[1:3] for each in switches] == [("8", "4"), ("4", "8")]
    assert "warmth" in switches[0][3]
    segments = conversation.generation.segments
    assert [each.bits for each in segments] == [8, 4, 8]
    assert chat.differing_tokens(spoken, segments, threads=1) == [0, 0, 0]


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
    with pytest.raises(NqError, match="1 to 245, what is left of 256, got 246"):
        model.feed([1] * 246)


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
