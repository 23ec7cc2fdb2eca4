"""A language model of `nets.llama` at work: it takes tokens, gives scores, and keeps what it has computed of them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nq_tflite as nq
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.errors import ModelSourceError, NqError, needing_extra

Array = npt.NDArray[Any]

TOKENIZER = "tokenizer.json"
PREFILL, DECODE = "prefill", "decode"
_NEW = "new_"


@dataclass(frozen=True)
class Cache:
    """Keys and values of the tokens so far.

    Attributes:
      position: how many tokens.
      arrays: float32 [1, key heads, context, head size] by the names of the model's inputs.
    """

    position: int
    arrays: Mapping[str, Array]

    def copy(self) -> Cache:
        """One that later tokens do not change."""
        return Cache(self.position, {name: values.copy() for name, values in self.arrays.items()})


def open_file(path: Path, num_threads: int) -> tuple[Any, tuple[int | None, ...]]:
    """An interpreter of a file and its precisions, full-bit first; of a stock file the runtime's own, and (None,)."""
    interpreter = nq.Interpreter(path, num_threads=num_threads)
    if interpreter.levels:
        return interpreter, interpreter.levels[::-1]
    return load_runtime(None).interpreter(model_path=str(path), num_threads=num_threads), (None,)


class TokenModel:
    """Runs the signatures "prefill" and "decode" of a file, on one cache.

    Args:
      interpreter: `nq.Interpreter`, or a stock runtime's; its precision may change between two calls.

    Raises:
      ModelSourceError: the file has not these signatures.

    Attributes:
      cache: empty at first. Assign a copy of another one to go on from there.
    """

    def __init__(self, interpreter: Any) -> None:
        signatures = interpreter.get_signature_list()
        if not {PREFILL, DECODE} <= set(signatures):
            got = ", ".join(signatures) or "none"
            fix = "Make one by: python -m nq_tflite_models.language_model MODEL --float FLOAT_MODEL."
            raise ModelSourceError("model", expected=f"signatures {PREFILL!r} and {DECODE!r}", got=got, fix=fix)
        interpreter.allocate_tensors()
        self._prefill, self._decode = (interpreter.get_signature_runner(name) for name in (PREFILL, DECODE))
        inputs = self._prefill.get_input_details()
        self.chunk = int(inputs["tokens"]["shape"][1])
        cached = {name: details for name, details in inputs.items() if name not in ("tokens", "position")}
        self.context = int(next(iter(cached.values()))["shape"][2])
        self.cache = Cache(0, {name: np.zeros(each["shape"], np.float32) for name, each in cached.items()})

    def feed(self, tokens: Sequence[int]) -> Array:
        """The scores of the token after each of some tokens: float32 [tokens, vocabulary].

        Many tokens are computed side by side, in pieces of `chunk`; a single one by "decode".

        Raises:
          NqError: no tokens, or more than the cache has room for.
        """
        room = self.context - self.cache.position
        if not 0 < len(tokens) <= room:
            raise NqError(
                "tokens", expected=f"1 to {room}, what is left of {self.context}", got=str(len(tokens)),
                fix="Write the model with a longer context, or start a new conversation.",
            )  # fmt: skip
        if len(tokens) == 1:
            return self._run(self._decode, tokens, 1)
        pieces = [tokens[begin : begin + self.chunk] for begin in range(0, len(tokens), self.chunk)]
        return np.concatenate([self._run(self._prefill, piece, self.chunk) for piece in pieces])

    def _run(self, runner: Any, tokens: Sequence[int], size: int) -> Array:
        count, position = len(tokens), self.cache.position
        padded = np.zeros((1, size), np.int32)
        padded[0, :count] = tokens
        outputs = runner(tokens=padded, position=np.array([position], np.int32), **self.cache.arrays)
        for name, values in self.cache.arrays.items():
            values[:, :, position : position + count] = outputs[_NEW + name][:, :, :count]
        self.cache = Cache(position + count, self.cache.arrays)
        return np.asarray(outputs["logits"][0, :count])


def read_tokenizer(path: Path) -> Any:
    """The tokenizer that is packed behind a model.

    Raises:
      ModelSourceError: there is none.
      MissingPackageError: the package `tokenizers` is not installed.
    """
    with needing_extra("language", "splitting text into tokens"):
        from tokenizers import Tokenizer
    try:
        with zipfile.ZipFile(path) as archive:
            return Tokenizer.from_str(archive.read(TOKENIZER).decode())
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelSourceError(f"model {path}", expected=f"{TOKENIZER} packed behind it", got=str(error)) from error
