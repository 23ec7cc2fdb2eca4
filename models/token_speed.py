"""`python -m nq_tflite_models.token_speed`: tokens a second of language models, each precision and peers in turns.

Every round runs each of them once: a whole chunk of a prompt ("prefill"), and some single tokens ("decode"). Ratios are
medians over rounds of the time of the first model divided by a model's own in the same round.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from nq_tflite_models.measure.token_model import Cache, TokenModel, open_file

import nq_tflite as nq
from nq_tflite.cli.console import NqCommand
from nq_tflite.cli.parameters import FILE, WholeNumber
from nq_tflite.units import bytes_text

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.token_speed stock.tflite nested.tflite
  python -m nq_tflite_models.token_speed stock.tflite nested.tflite --rounds 20 --threads 2

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""


class Runner:
    """A model at one precision, or a stock one.

    Attributes:
      name: what a line calls it.
      prefill, decode: seconds of a token, by round.
    """

    def __init__(self, name: str, model: TokenModel, interpreter: Any, bits: int | None) -> None:
        self.name = name if bits is None else f"{name} at {bits} bits"
        self._model, self._interpreter, self._bits = model, interpreter, bits
        self.prefill: list[float] = []
        self.decode: list[float] = []
        self.resident = 0

    def run(self, tokens: int) -> None:
        """A round: a chunk, then so many single tokens."""
        if self._bits is not None:
            self._interpreter.precision = self._bits
        model = self._model
        model.cache = Cache(0, model.cache.arrays)
        started = time.perf_counter()
        model.feed([5] * model.chunk)
        self.prefill.append((time.perf_counter() - started) / model.chunk)
        started = time.perf_counter()
        for token in range(tokens):
            model.feed([token])
        self.decode.append((time.perf_counter() - started) / tokens)
        if self._bits is not None:
            self.resident = self._interpreter.resident_bytes()

    def line(self, first: Runner) -> str:
        """Tokens a second, and beside the first model's."""
        parts = []
        for kind in ("prefill", "decode"):
            ours, theirs = np.array(getattr(self, kind)), np.array(getattr(first, kind))
            parts.append(f"{kind} {1 / np.median(ours):.1f} tokens/s ({np.median(theirs / ours):.2f} x)")
        held = f", {bytes_text(self.resident)} of nested weights resident" if self.resident else ""
        return f"{self.name}: {', '.join(parts)}{held}"


def runners(paths: Sequence[Path], threads: int) -> list[Runner]:
    """One for each precision of a nested file, and one for every other file."""
    found = []
    for path in paths:
        interpreter, levels = open_file(path, threads)
        model = TokenModel(interpreter)
        found += [Runner(path.name, model, interpreter, bits) for bits in levels]
    return found


def switch_line(path: Path, threads: int, times: int = 20) -> str:
    """How long switches take whose pages are in memory, and what they move."""
    interpreter = nq.Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    switches = [interpreter.switch(precision) for _ in range(times) for precision in ("part", "full")]
    down, up = ([1e3 * each.seconds for each in switches[start::2][1:]] for start in (0, 1))
    moved = bytes_text(switches[-1].bytes_moved)
    return f"{path.name}: down in {np.median(down):.2f} ms, up in {np.median(up):.2f} ms (medians), {moved}"


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("models", type=FILE, nargs=-1, required=True)
@click.option("--rounds", type=WholeNumber(), default=7, show_default=True, help="Rounds that count.")
@click.option("--tokens", type=WholeNumber(), default=8, show_default=True, help="Single tokens of a round.")
@click.option("--threads", type=WholeNumber(), default=1, show_default=True, help="Threads of the runtime.")
def token_speed(models: tuple[Path, ...], rounds: int, tokens: int, threads: int) -> None:
    """Print a line for each model and precision, with ratios to the first one, and a line for the switches of each
    nested file."""
    found = runners(models, threads)
    for turn in range(rounds + 1):
        for runner in found:
            runner.run(tokens)
            if turn == 0:  # what the first invocation sets up
                runner.prefill.clear()
                runner.decode.clear()
    for runner in found:
        click.echo(runner.line(found[0]))
    for path in models:
        if nq.Interpreter(path).levels:
            click.echo(switch_line(path, threads))


if __name__ == "__main__":
    token_speed(prog_name="python -m nq_tflite_models.token_speed")
