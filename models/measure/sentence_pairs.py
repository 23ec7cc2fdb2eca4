"""Pairs of sentences from a file, and sentences as numbers of tokens."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import ModelSourceError, needing_extra

#: Columns of files with a head: SICK's, and the STS benchmark's as most libraries write it.
_HEADS = (
    ("sentence_A", "sentence_B", "relatedness_score"),
    ("sentence1", "sentence2", "score"),
)
_EXPECTED = (
    "lines of score, sentence, sentence separated by tabs, or a header with sentence1 and sentence2, or SICK's header"
)
Array = NDArray[Any]


@dataclass(frozen=True)
class SentencePairs:
    """Pairs of sentences.

    Attributes:
        pairs: both sentences of each.
        scores: how similar people find them, float64 [pairs]; NaN where nobody was asked.
    """

    pairs: tuple[tuple[str, str], ...]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.pairs)

    def drawn(self, count: int, seed: int) -> tuple[SentencePairs, SentencePairs]:
        """So many pairs drawn at random, and all others."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self._of(np.sort(order[:count])), self._of(np.sort(order[count:]))

    def judged(self) -> SentencePairs:
        """Those that people have scored, if they have scored any; all of them otherwise."""
        scored = np.flatnonzero(np.isfinite(self.scores))
        return self._of(scored) if len(scored) else self

    def sentences(self) -> list[str]:
        """First and second sentence of each pair in turn."""
        return [sentence for pair in self.pairs for sentence in pair]

    def _of(self, which: Array) -> SentencePairs:
        return SentencePairs(tuple(self.pairs[index] for index in which), self.scores[which])


def read_pairs(path: Path) -> SentencePairs:
    """Reads a file of pairs, UTF-8 with tabs between its columns.

    Columns are score, sentence, sentence, as in SemEval's STS, where an empty score says that nobody was asked; or
    those that a head names, as in SICK.

    Raises:
      ModelSourceError: it cannot be read, or has other columns, or fewer than three pairs.

    Example:
      len(read_pairs(Path("STS2015.images.tsv")).judged())  # 750
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _not_pairs(path, str(error)) from error
    head = next((names for names in _HEADS if rows and set(names[:2]) <= set(rows[0])), None)
    if head is not None:
        places = [rows[0].index(name) if name in rows[0] else -1 for name in head]
        rows = [[row[places[2]] if places[2] >= 0 else "", row[places[0]], row[places[1]]] for row in rows[1:]]
    if len(rows) < 3 or any(len(row) < 3 for row in rows):
        raise _not_pairs(path, f"{len(rows)} lines, the shortest of {min(map(len, rows), default=0)} columns")
    try:
        scores = np.array([float(row[0]) if row[0].strip() else np.nan for row in rows])
    except ValueError as error:
        raise _not_pairs(path, str(error)) from error
    return SentencePairs(tuple((row[1], row[2]) for row in rows), scores)


def _not_pairs(path: Path, got: str) -> ModelSourceError:
    return ModelSourceError(f"sentence pairs {path}", expected=_EXPECTED, got=got)


class Tokenizer:
    """Sentences to what a BERT takes, by Hugging Face's tokenizers.

    Args:
      path: a tokenizer.json, or a BERT's vocab.txt, which is taken for that of an uncased one.
      tokens: length that sentences are cut or padded to.

    Raises:
      MissingPackageError: tokenizers is not installed.
      ModelSourceError: the file cannot be read.

    Example:
      Tokenizer(Path("vocab.txt"), 64)(["A cat sleeps."])["input_ids"].shape  # (1, 64)
    """

    def __init__(self, path: Path, tokens: int) -> None:
        with needing_extra("text", "splitting sentences into tokens"):
            import tokenizers
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                json.loads(text)
                self._tokenizer: Any = tokenizers.Tokenizer.from_str(text)
            else:
                words = {word: number for number, word in enumerate(text.split("\n"))}
                self._tokenizer = tokenizers.BertWordPieceTokenizer(words, lowercase=True)
            self._tokenizer.enable_padding(length=tokens)
            self._tokenizer.enable_truncation(tokens)
        except (OSError, ValueError, TypeError) as error:
            raise ModelSourceError(
                f"tokenizer {path}", expected="a tokenizer.json or a BERT's vocab.txt", got=str(error)
            ) from error

    def __call__(self, sentences: Sequence[str]) -> dict[str, NDArray[np.int32]]:
        """Inputs of `sentence_encoder` by name: int32 [sentences, tokens] each."""
        encoded = self._tokenizer.encode_batch(list(sentences))
        return {
            "input_ids": np.array([each.ids for each in encoded], np.int32),
            "attention_mask": np.array([each.attention_mask for each in encoded], np.int32),
        }


def one_by_one(inputs: dict[str, NDArray[np.int32]]) -> Iterator[dict[str, NDArray[np.int32]]]:
    """Inputs of one sentence after another, [1, tokens] each."""
    for row in range(len(next(iter(inputs.values())))):
        yield {name: values[row : row + 1] for name, values in inputs.items()}
