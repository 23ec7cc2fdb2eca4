"""`python -m nq_tflite_models.token_speed`: tokens a second of language models, each precision and peers in turns.

Every round runs each of them once: a whole chunk of a prompt ("prefill"), and some single tokens ("decode"). Ratios are
medians over rounds of the time of the first model divided by a model's own in the same round.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from nq_tflite_models.measure.token_model import Cache, TokenModel, open_file

import nq_tflite as nq
from nq_tflite.errors import NqError
from nq_tflite.units import bytes_text


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


def runners(paths: list[Path], threads: int) -> list[Runner]:
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


def main() -> None:
    """Prints a line for each model and precision, and one for the switches of each nested file."""
    parser = argparse.ArgumentParser(prog="python -m nq_tflite_models.token_speed", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="the first one is what others are compared with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=8, help="single ones, of a round; default: %(default)s")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        _print_all(options)
    except NqError as error:
        sys.exit(str(error))


def _print_all(options: argparse.Namespace) -> None:
    found = runners(options.models, options.threads)
    for turn in range(options.rounds + 1):
        for runner in found:
            runner.run(options.tokens)
            if turn == 0:  # what the first invocation sets up
                runner.prefill.clear()
                runner.decode.clear()
    for runner in found:
        print(runner.line(found[0]), flush=True)
    for path in options.models:
        if nq.Interpreter(path).levels:
            print(switch_line(path, options.threads), flush=True)


if __name__ == "__main__":
    main()
