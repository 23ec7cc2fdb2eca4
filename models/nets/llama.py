"""Llama's architecture, of many small language models, with its keys and values handed in and out.

The net keeps no state. Whoever calls it owns the cache: each block's keys and values of the tokens so far, float32 [1,
key heads, context, head size]. A call reads the first `position` places of it, and returns the keys and values of its
own tokens, which the caller puts behind them.

Weights of four bits often have an offset for every block of inputs, as GGUF's Q4_1 has: w = scale * code + offset. The
scales of groups have none. But a block's offset times the sum of its inputs is a product like others: with
`block_means` the net gives each dense layer the means of its inputs' blocks as inputs too, and the offsets as their
weights. What is left of the other weights is symmetric in every block.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from nq_tflite.conversion.sources.keras_saved_model import without_progress_lines
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ModelT

Array = npt.NDArray[Any]

_MASKED = -1e9
#: The weight whose rows stand for tokens: of all of them, or of the frequent ones where the rare ones have another.
TABLE = "token_embd.weight"
_RARE = "token_embd_rare.weight"
_LAST_NORM = "output_norm.weight"
#: Cells and codes of four bits of eight, and how many times smaller a fine mean is than a mean.
_CELLS, _CODES, _FINER = 16, 16, 8
#: Blocks without a fine mean, the rough ones, come after so many others: in SmolLM2 the means there are small. Half a
#: rough block's mean is an input, so that its weight makes use of the group's scale.
_BEFORE_ROUGH, _ROUGH_SHARE = 10, 0.5


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a net.

    Attributes:
      layers: blocks of attention and a gated MLP.
      width: of a token's vector: heads * head size.
      key_heads: pairs of keys and values; several heads share one.
      hidden: between the dense layers of an MLP.
      rope_base: of rotary embedding's angles.
      epsilon: of the norms.
    """

    layers: int
    width: int
    heads: int
    key_heads: int
    hidden: int
    vocabulary: int
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        """Of a query, a key and a value."""
        return self.width // self.heads

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights, matrices as [outputs, inputs], by the names that a GGUF file gives them."""
        width, keys, hidden = self.width, self.key_heads * self.head_size, self.hidden
        shapes: dict[str, tuple[int, ...]] = {"token_embd": (self.vocabulary, width), "output_norm": (width,)}
        for block in range(self.layers):
            name = f"blk.{block}"
            shapes |= {f"{name}.attn_norm": (width,), f"{name}.ffn_norm": (width,)}
            shapes |= {f"{name}.attn_q": (width, width), f"{name}.attn_output": (width, width)}
            shapes |= {f"{name}.attn_k": (keys, width), f"{name}.attn_v": (keys, width)}
            shapes |= {f"{name}.ffn_gate": (hidden, width), f"{name}.ffn_up": (hidden, width)}
            shapes[f"{name}.ffn_down"] = (width, hidden)
        return {f"{name}.weight": shape for name, shape in shapes.items()}

    def cache_shape(self, context: int) -> tuple[int, int, int, int]:
        """Of a block's keys, and of its values, for so many tokens."""
        return 1, self.key_heads, context, self.head_size


#: For tests.
TINY = LlamaConfig(layers=2, width=64, heads=4, key_heads=2, hidden=96, vocabulary=256)


def seeded_weights(config: LlamaConfig, seed: int = 0) -> dict[str, Array]:
    """Plausible weights of a net that nobody trained."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in config.shapes.items():
        if len(shape) == 1:
            weights[name] = random.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            weights[name] = (random.standard_normal(shape) * shape[1] ** -0.5).astype(np.float32)
    return weights


def column_shares(table: Array) -> Array:
    """What to multiply a table's columns by before it is rounded: float32 [width], smaller for larger columns.

    A group's scale is that of its largest weights. In a table of embeddings these are in few columns, and all others
    would be rounded as roughly as they are.

    >>> column_shares(np.float32([[1, 16], [-1, 16]])).astype(float).round(3).tolist()
    [3.367, 0.842]
    """
    power = np.square(table, dtype=np.float64).mean(axis=0)
    return np.asarray((np.maximum(power, 1e-12) / power.mean()) ** -0.25, np.float32)


def mean_columns(blocks: int, block: int) -> tuple[int, int]:
    """How many of the blocks have a fine mean beside their mean, and how many zeros fill the last block of inputs.

    >>> mean_columns(18, 32), mean_columns(48, 32)
    ((14, 0), (48, 0))
    """
    columns = -(-(blocks + 3 * blocks // 4) // block) * block
    fine = min(blocks, columns - blocks)
    return fine, columns - blocks - fine


def fine_blocks(blocks: int, fine: int) -> Array:
    """Which blocks have a fine mean: bool [blocks]. The others, the rough ones, follow each other.

    >>> np.flatnonzero(~fine_blocks(18, 14)).tolist()
    [10, 11, 12, 13]
    """
    places, first = np.arange(blocks), min(_BEFORE_ROUGH, fine)
    return (places < first) | (places >= first + blocks - fine)


def with_block_means(matrix: Array, block: int) -> Array:
    """A matrix [outputs, inputs] for inputs that are followed by means of them, as `Llama` gives them.

    The products are the same, but the blocks' weights lie around 0, as far up as down. At four bits a mean's weight is
    the middle of a cell, and what that leaves of the block's offset is the weight of the fine mean. Weights of four
    bits lose a sixteenth of a cell at every other input (FORMAT.md section 4.2). At four bits, but not at eight, the
    means give back what their block loses on average.

    >>> with_block_means(np.float32([[1, 2, 5, 7]]), 2).round(3).astype(float).round(3).tolist()
    [[-0.5, 0.5, -1.0, 1.0, 2.4, 11.9, 4.8, 0.8]]
    """
    blocks = matrix.reshape(len(matrix), -1, block)
    count = blocks.shape[1]
    least, most = blocks.min(axis=2), blocks.max(axis=2)
    around = (blocks - ((least + most) / 2)[:, :, None]).reshape(matrix.shape)
    offsets = (least + most) * (block / 2)
    fine, zeros = mean_columns(count, block)
    has_fine = fine_blocks(count, fine)
    first, second = offsets[:, has_fine], np.where(has_fine, 0, offsets / _ROUGH_SHARE)
    unit = _outermost(np.concatenate([first, second], axis=1), block)[:, :fine] / (_CODES * (_CELLS - 1) / 2)
    unit[unit == 0] = 1
    wanted = first / unit
    lost = np.rint(_lost_at_four_bits(blocks, least, most)[:, has_fine] / unit)
    middles = _CODES / 2 - (np.arange(fine) & 1)
    cells = np.clip(np.floor((wanted + lost) / _CODES), -_CELLS / 2, _CELLS / 2 - 1)
    left = wanted - (cells * _CODES + middles - lost)
    second[:, has_fine] = _FINER * left * unit
    filler = np.zeros((len(matrix), zeros), np.float32)
    return np.concatenate([around, (wanted - left) * unit, second, filler], axis=1).astype(np.float32)


def _outermost(columns: Array, block: int) -> Array:
    """The largest magnitude in each column's group of `block`: of the shape of `columns`."""
    padded = np.pad(columns, ((0, 0), (0, -columns.shape[1] % block))).reshape(len(columns), -1, block)
    return np.asarray(np.repeat(np.abs(padded).max(axis=2), block, axis=1)[:, : columns.shape[1]])


def _lost_at_four_bits(blocks: Array, least: Array, most: Array) -> Array:
    """What the weights of each block lose in sum: half of them a sixteenth of a cell, if they have four bits."""
    cell = (most - least) / (_CELLS - 1)
    places = (blocks - least[:, :, None]) / np.where(cell > 0, cell, 1)[:, :, None]
    of_four_bits = np.abs(places - np.rint(places)).max(axis=2) < 0.01
    return np.where(of_four_bits, cell * (blocks.shape[2] / 2 / _CODES), 0)


class Llama(keras.Model):
    """A net of that architecture, whose output layer multiplies by the embedding's table.

    Args:
      weights: by the names and in the shapes of `config.shapes`.
      block_means: so many inputs of a dense layer have their mean as an input too, and three quarters or more of these
        blocks an eighth of it, the fine mean; 0: no inputs have. The table stays as it is.
      frequent: so many rows of the table, those of the first tokens, are a weight of their own, which may have more
        bits than the others; 0: there is one weight. With two, the columns are multiplied by `column_shares`, and what
        is looked up and the last norm by their inverses.

    Example:
      net = Llama(TINY, seeded_weights(TINY))
    """

    def __init__(
        self, config: LlamaConfig, weights: Mapping[str, Array], *, block_means: int = 0, frequent: int = 0
    ) -> None:
        """Makes the weights."""
        super().__init__(name="llama")
        self.config, self.block_means, self.frequent = config, block_means, frequent
        self.table: dict[str, Any] = {}
        self.shares = column_shares(weights[TABLE]) if frequent else np.ones(config.width, np.float32)
        for name in config.shapes:
            values = weights[name]
            if name == TABLE:
                values = values * self.shares
            elif name == _LAST_NORM:
                values = values / self.shares
            if name == TABLE and frequent:
                self._add(_RARE, values[frequent:])
                values = values[:frequent]
            elif block_means and values.ndim > 1 and name != TABLE:
                values = with_block_means(values, block_means)
            self._add(name, values)

    def _add(self, name: str, values: Array) -> None:
        self.table[name] = self.add_weight(shape=values.shape, name=name.replace(".", "_"))
        self.table[name].assign(values)

    def call(self, tokens: Any, position: Any, keys: Sequence[Any], values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """The scores of the next token after each of some tokens.

        Args:
          tokens: int32 [1, tokens].
          position: int32 [1]: how many tokens come before them.
          keys, values: the cache, of each block; of its places only the first `position` count.

        Returns:
          logits [1, tokens, vocabulary]; the keys and the values of the tokens, of each block [1, key heads, tokens,
          head size].
        """
        ops, config = keras.ops, self.config
        count, context, size = tokens.shape[1], keys[0].shape[2], config.head_size
        shares = config.heads // config.key_heads
        turn = self._turns(position, count)
        past = ops.cast(ops.arange(context, dtype="int32") >= position, "float32") * _MASKED
        causal = np.tile(np.triu(np.full((count, count), _MASKED, np.float32), 1), (1, 1, shares, 1))
        x = self._rows(ops.reshape(tokens, (count,)))
        new_keys, new_values = [], []
        for block in range(config.layers):
            name = f"blk.{block}"
            y = self._inputs(self._norm(x, f"{name}.attn_norm"))
            q = _turned(self._heads(y, f"{name}.attn_q"), turn) * size**-0.5
            k = _turned(self._heads(y, f"{name}.attn_k"), turn)
            v = self._heads(y, f"{name}.attn_v")
            q = ops.reshape(q, (1, config.key_heads, shares * count, size))
            before = ops.matmul(q, ops.transpose(keys[block], (0, 1, 3, 2))) + past
            among = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) + causal
            weight = ops.softmax(ops.concatenate([before, among], axis=-1), axis=-1)
            y = ops.matmul(weight[..., :context], values[block]) + ops.matmul(weight[..., context:], v)
            y = ops.transpose(ops.reshape(y, (config.heads, count, size)), (1, 0, 2))
            y = self._inputs(ops.reshape(y, (count, config.width)))
            x = x + self._dense(y, f"{name}.attn_output")
            y = self._inputs(self._norm(x, f"{name}.ffn_norm"))
            y = ops.silu(self._dense(y, f"{name}.ffn_gate")) * self._dense(y, f"{name}.ffn_up")
            x = x + self._dense(self._inputs(y), f"{name}.ffn_down")
            new_keys.append(k)
            new_values.append(v)
        x = self._norm(x, "output_norm")
        names = ["token_embd", "token_embd_rare"] if self.frequent else ["token_embd"]
        logits = [self._dense(x, name) for name in names]
        return ops.concatenate(logits, axis=-1)[None] if self.frequent else logits[0][None], new_keys, new_values

    def _rows(self, tokens: Any) -> Any:
        """The table's rows of tokens [tokens]."""
        ops, first = keras.ops, self.table[TABLE]
        if not self.frequent:
            return ops.take(first, tokens, axis=0)
        often = ops.take(first, ops.minimum(tokens, self.frequent - 1), axis=0)
        rarely = ops.take(self.table[_RARE], ops.maximum(tokens - self.frequent, 0), axis=0)
        return ops.where((tokens < self.frequent)[:, None], often, rarely) * (1 / self.shares)

    def _inputs(self, x: Any) -> Any:
        """Inputs of dense layers [tokens, inputs], with the means of blocks after them."""
        if not self.block_means:
            return x
        count = x.shape[0]
        means = keras.ops.mean(keras.ops.reshape(x, (count, -1, self.block_means)), axis=-1)
        blocks = means.shape[1]
        fine, zeros = mean_columns(blocks, self.block_means)
        has_fine = fine_blocks(blocks, fine)
        smaller = means * np.where(has_fine, 1 / _FINER, _ROUGH_SHARE).astype(np.float32)
        first = fine if has_fine.all() else int(has_fine.argmin())
        coarse = [part for part in (means[:, :first], means[:, first + blocks - fine :]) if part.shape[1]]
        more = [np.zeros((count, zeros), np.float32)] if zeros else []
        return keras.ops.concatenate([x, *coarse, smaller, *more], axis=-1)

    def _dense(self, x: Any, name: str) -> Any:
        return keras.ops.matmul(x, keras.ops.transpose(self.table[f"{name}.weight"]))

    def _norm(self, x: Any, name: str) -> Any:
        power = keras.ops.mean(keras.ops.square(x), axis=-1, keepdims=True)
        # The gain comes first: TFLite's converter would multiply the next layers' weights by it, and untie the table.
        return x * self.table[f"{name}.weight"] * keras.ops.rsqrt(power + self.config.epsilon)

    def _heads(self, x: Any, name: str) -> Any:
        """[1, heads, tokens, head size] of a dense layer's outputs."""
        split = keras.ops.reshape(self._dense(x, name), (1, x.shape[0], -1, self.config.head_size))
        return keras.ops.transpose(split, (0, 2, 1, 3))

    def _turns(self, position: Any, count: int) -> tuple[Any, Any]:
        """Cosines and sines [tokens, half a head] by which rotary embedding turns queries and keys."""
        half = self.config.head_size // 2
        frequencies = (self.config.rope_base ** -(np.arange(half) / half)).astype(np.float32)
        places = keras.ops.cast(position + keras.ops.arange(count, dtype="int32"), "float32")
        angles = places[:, None] * frequencies[None]
        return keras.ops.cos(angles), keras.ops.sin(angles)


def _turned(x: Any, turn: tuple[Any, Any]) -> Any:
    """Pairs (i, i + half) of [1, heads, tokens, head size], turned by the angle of the token and the pair."""
    cos, sin = turn
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return keras.ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


# ---- the .tflite file ------------------------------------------------------------------------------------------------


def write_llama(
    config: LlamaConfig,
    weights: Mapping[str, Array],
    path: Path,
    *,
    context: int,
    chunk: int,
    block_means: int = 0,
    frequent: int = 0,
) -> None:
    """Writes a float .tflite with the signatures "prefill", of `chunk` tokens, and "decode", of one.

    Both read the same weights. Their inputs are "tokens", "position" and, for each block, "keys_00" and "values_00";
    their outputs "logits" and for each block "new_keys_00" and "new_values_00", as `Llama.call` has them. "prefill" is
    the main subgraph, which samples for `nq.convert` belong to.

    Args:
      context: tokens that the cache holds.
      block_means, frequent: as `Llama`.

    Example:
      write_llama(TINY, seeded_weights(TINY), Path("tiny.tflite"), context=64, chunk=16)
    """
    import tensorflow as tf

    net = Llama(config, weights, block_means=block_means, frequent=frequent)
    tracked = tf.Module()
    tracked.tables = [weight.value for weight in net.weights]
    with tempfile.TemporaryDirectory() as folder:
        signatures = {name: _signature(tf, net, count, context) for name, count in (("prefill", chunk), ("decode", 1))}
        with without_progress_lines():
            tf.saved_model.save(tracked, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        content = converter.convert()
    model = fb.read_model(content).model
    _name_weights(model, {name: np.asarray(weight) for name, weight in net.table.items()})
    _put_prefill_first(model)
    path.write_bytes(fb.pack_model(model))


def _signature(tf: Any, net: Llama, count: int, context: int) -> Any:
    blocks = range(net.config.layers)
    cache = net.config.cache_shape(context)
    specs = {"tokens": tf.TensorSpec((1, count), tf.int32), "position": tf.TensorSpec((1,), tf.int32)}
    for block in blocks:
        specs |= {f"{name}_{block:02}": tf.TensorSpec(cache, tf.float32) for name in ("keys", "values")}

    @tf.function
    def run(**given: Any) -> dict[str, Any]:
        keys, values = ([given[f"{name}_{block:02}"] for block in blocks] for name in ("keys", "values"))
        logits, new_keys, new_values = net(given["tokens"], given["position"], keys, values)
        named = {"logits": logits}
        for block in blocks:
            named |= {f"new_keys_{block:02}": new_keys[block], f"new_values_{block:02}": new_values[block]}
        return named

    return run.get_concrete_function(**specs)


def _name_weights(model: ModelT, weights: Mapping[str, Array]) -> None:
    """Gives the matrices their names, for which the converter has other ones."""
    names = {hash(values.tobytes()): name for name, values in weights.items() if values.ndim > 1}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None and len(fb.shape(tensor)) > 1:
                tensor.name = names.get(hash(bytes(data)), fb.text(tensor.name))


def _put_prefill_first(model: ModelT) -> None:
    """The subgraph of that signature in front; the converter sorts them by name."""
    signatures = {fb.text(each.signatureKey): each for each in model.signatureDefs or []}
    order = [signatures[name].subgraphIndex for name in ("prefill", "decode")]
    model.subgraphs = [model.subgraphs[index] for index in order]
    for index, name in enumerate(("prefill", "decode")):
        signatures[name].subgraphIndex = index
