"""Llama's architecture, of many small language models, with its keys and values handed in and out.

The net keeps no state. Whoever calls it owns the cache: each block's keys and values of the tokens so far, float32 [1,
key heads, context, head size]. A call reads the first `position` places of it, and returns the keys and values of its
own tokens, which the caller puts behind them.
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

from nq_tflite.graph import flatbuffer as fb

Array = npt.NDArray[Any]

_MASKED = -1e9


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


class Llama(keras.Model):
    """A net of that architecture, whose output layer multiplies by the embedding's table.

    Args:
      weights: by the names and in the shapes of `config.shapes`.

    Example:
      net = Llama(TINY, seeded_weights(TINY))
    """

    def __init__(self, config: LlamaConfig, weights: Mapping[str, Array]) -> None:
        """Makes the weights."""
        super().__init__(name="llama")
        self.config = config
        self.table: dict[str, Any] = {}
        for name, shape in config.shapes.items():
            self.table[name] = self.add_weight(shape=shape, name=name.replace(".", "_"))
            self.table[name].assign(weights[name])

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
        x = ops.take(self.table["token_embd.weight"], ops.reshape(tokens, (count,)), axis=0)
        new_keys, new_values = [], []
        for block in range(config.layers):
            name = f"blk.{block}"
            y = self._norm(x, f"{name}.attn_norm")
            q = _turned(self._heads(y, f"{name}.attn_q"), turn) * size**-0.5
            k = _turned(self._heads(y, f"{name}.attn_k"), turn)
            v = self._heads(y, f"{name}.attn_v")
            q = ops.reshape(q, (1, config.key_heads, shares * count, size))
            before = ops.matmul(q, ops.transpose(keys[block], (0, 1, 3, 2))) + past
            among = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) + causal
            weight = ops.softmax(ops.concatenate([before, among], axis=-1), axis=-1)
            y = ops.matmul(weight[..., :context], values[block]) + ops.matmul(weight[..., context:], v)
            y = ops.transpose(ops.reshape(y, (config.heads, count, size)), (1, 0, 2))
            x = x + self._dense(ops.reshape(y, (count, config.width)), f"{name}.attn_output")
            y = self._norm(x, f"{name}.ffn_norm")
            y = ops.silu(self._dense(y, f"{name}.ffn_gate")) * self._dense(y, f"{name}.ffn_up")
            x = x + self._dense(y, f"{name}.ffn_down")
            new_keys.append(k)
            new_values.append(v)
        logits = self._dense(self._norm(x, "output_norm"), "token_embd")
        return logits[None], new_keys, new_values

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


def write_llama(config: LlamaConfig, weights: Mapping[str, Array], path: Path, *, context: int, chunk: int) -> None:
    """Writes a float .tflite with the signatures "prefill", of `chunk` tokens, and "decode", of one.

    Both read the same weights. Their inputs are "tokens", "position" and, for each block, "keys_00" and "values_00";
    their outputs "logits" and for each block "new_keys_00" and "new_values_00", as `Llama.call` has them. "prefill" is
    the main subgraph, which samples for `nq.convert` belong to.

    Args:
      context: tokens that the cache holds.

    Example:
      write_llama(TINY, seeded_weights(TINY), Path("tiny.tflite"), context=64, chunk=16)
    """
    import tensorflow as tf

    net = Llama(config, weights)
    tracked = tf.Module()
    tracked.tables = [weight.value for weight in net.weights]
    with tempfile.TemporaryDirectory() as folder:
        signatures = {name: _signature(tf, net, count, context) for name, count in (("prefill", chunk), ("decode", 1))}
        tf.saved_model.save(tracked, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        content = converter.convert()
    path.write_bytes(_prefill_first(content))


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


def _prefill_first(content: bytes) -> bytes:
    """The file with the subgraph of that signature in front; the converter sorts them by name."""
    model = fb.read_model(content).model
    signatures = {fb.text(each.signatureKey): each for each in model.signatureDefs or []}
    order = [signatures[name].subgraphIndex for name in ("prefill", "decode")]
    model.subgraphs = [model.subgraphs[index] for index in order]
    for index, name in enumerate(("prefill", "decode")):
        signatures[name].subgraphIndex = index
    return bytes(fb.pack_model(model))
