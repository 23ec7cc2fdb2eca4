"""`python -m nq_tflite_models.perplexity`: how well language models predict a text, each precision and peers beside it.

Perplexity is e to the mean negative log probability that a model gives the text's next token. Files are compared on
the same tokens, in pieces that each begin with an empty cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from nq_tflite_models.measure.token_model import Cache, TokenModel, open_file, read_tokenizer

from nq_tflite.cli.console import NqCommand
from nq_tflite.cli.parameters import FILE, WholeNumber
from nq_tflite.errors import RepresentativeDataError

Array = npt.NDArray[Any]

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.perplexity float.tflite nested.tflite --text book.txt
  python -m nq_tflite_models.perplexity float.tflite nested.tflite --text book.txt --length 129 --pieces 800

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""
#: Of the normal distribution: 95 % lie within so many standard deviations.
_INTERVAL = 1.96


@dataclass(frozen=True)
class Losses:
    """What a model makes of pieces of a text.

    Attributes:
      sums: float64 [pieces], negative log probabilities of a piece's tokens.
      counts: int64 [pieces], tokens that were predicted.
    """

    sums: Array
    counts: Array

    @property
    def perplexity(self) -> float:
        """Of all pieces."""
        return float(np.exp(self.sums.sum() / self.counts.sum()))

    def ratio(self, reference: Losses) -> tuple[float, float]:
        """Perplexity beside another model's on the same pieces, and how far off 95 % of such samples are."""
        difference = self.sums - reference.sums
        total = self.counts.sum()
        spread = difference.std(ddof=1) * np.sqrt(len(difference)) if len(difference) > 1 else np.inf
        ratio = float(np.exp(difference.sum() / total))
        return ratio, float(ratio * _INTERVAL * spread / total)


def losses(model: TokenModel, tokens: Sequence[int], length: int, pieces: int) -> Losses:
    """Runs pieces of `length` tokens, spread over a text.

    Raises:
      RepresentativeDataError: the text is shorter than that.
    """
    if len(tokens) < length * pieces:
        got = f"{len(tokens)} tokens"
        raise RepresentativeDataError("text", expected=f"{pieces} x {length} tokens at least", got=got)
    sums = []
    for begin in np.linspace(0, len(tokens) - length, pieces).astype(int):
        piece = np.asarray(tokens[begin : begin + length])
        model.cache = Cache(0, model.cache.arrays)
        sums.append(_loss(model.feed(piece[:-1].tolist()), piece[1:]))
    return Losses(np.array(sums), np.full(pieces, length - 1))


def _loss(scores: Array, wanted: Array) -> float:
    """The negative log probability of tokens [tokens] by scores [tokens, vocabulary]."""
    highest = scores.max(axis=1, keepdims=True)
    logs = np.log(np.exp(scores - highest).sum(axis=1, dtype=np.float64)) + highest[:, 0]
    return float((logs - scores[np.arange(len(wanted)), wanted]).sum())


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("models", type=FILE, nargs=-1, required=True)
@click.option("--text", type=FILE, required=True, help="A text file.")
@click.option("--length", type=WholeNumber(least=2), default=256, show_default=True, help="Tokens of a piece.")
@click.option("--pieces", type=WholeNumber(), default=40, show_default=True, help="Pieces of the text.")
@click.option("--threads", type=WholeNumber(), default=2, show_default=True, help="Threads of the runtime.")
def perplexity(models: tuple[Path, ...], text: Path, length: int, pieces: int, threads: int) -> None:
    """Print how well language models predict a text: a line for each model and precision, with the ratio to the first
    one and what 95 % of such samples of pieces are within."""
    tokens = read_tokenizer(models[0]).encode(text.read_text()).ids
    click.echo(f"{pieces} pieces of {length} of the text's {len(tokens)} tokens")
    reference: Losses | None = None
    for path in models:
        interpreter, levels = open_file(path, threads)
        model = TokenModel(interpreter)
        for bits in levels:
            if bits is not None:
                interpreter.precision = bits
            found = losses(model, tokens, length, pieces)
            reference = reference or found
            ratio, off = found.ratio(reference)
            name = path.name if bits is None else f"{path.name} at {bits} bits"
            click.echo(f"{name}: perplexity {found.perplexity:.3f}, {100 * (ratio - 1):+.2f} +- {100 * off:.2f} %")


if __name__ == "__main__":
    perplexity(prog_name="python -m nq_tflite_models.perplexity")
