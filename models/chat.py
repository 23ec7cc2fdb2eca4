"""`python -m nq_tflite_models.chat`: a language model answers, and changes its precision between two tokens.

The file is one of `nets.llama`, nested. What the model has computed of earlier tokens stays through a switch.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from nq_tflite_models.measure.token_model import Cache, TokenModel, read_tokenizer

import nq_tflite as nq
from nq_tflite.cli.console import NqCommand
from nq_tflite.cli.parameters import FILE, POLICY, PRECISION, Value, WholeNumber
from nq_tflite.errors import NqError

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.chat smollm2.tflite
  python -m nq_tflite_models.chat smollm2.tflite --ask "What is rain?" --switch-at 12:4,24:8 --verify
  python -m nq_tflite_models.chat smollm2.tflite --policy memory

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""
_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
_END = "<|im_end|>"
_NAMES = ("full", "part")


@dataclass(frozen=True)
class Segment:
    """Tokens that were generated at one precision.

    Attributes:
      bits: the precision.
      start: the cache before the first of them.
      first: the token that was fed first.
      scores: float32 [vocabulary] after each token that was fed.
    """

    bits: int
    start: Cache
    first: int
    scores: list[np.ndarray]


class Generation:
    """Greedy generation, a token after the other.

    Args:
      interpreter: of a nested file, at the precision to begin with.
      keep: whether `segments` keeps what `differing_tokens` compares: a copy of the cache for each switch.
    """

    def __init__(self, interpreter: nq.Interpreter, *, keep: bool = False) -> None:
        self._interpreter, self._keep = interpreter, keep
        self.model = TokenModel(interpreter)
        self.segments: list[Segment] = []

    def tokens(self, prompt: Sequence[int], most: int, end: int | None = None) -> Iterator[int]:
        """The next tokens, `most` at the most, or until `end`; whoever asks may switch the interpreter in between."""
        room = self.model.context - self.model.cache.position - len(prompt)
        scores = self.model.feed(prompt)[-1]
        for _ in range(min(most, room)):
            token = int(scores.argmax())
            yield token
            if token == end:
                return
            if self._keep:
                self._note(token)
            scores = self.model.feed([token])[0]
            if self._keep:
                self.segments[-1].scores.append(scores)

    def _note(self, token: int) -> None:
        bits = self._interpreter.precision
        if not self.segments or self.segments[-1].bits != bits:
            self.segments.append(Segment(bits, self.model.cache.copy(), token, []))


def differing_tokens(path: Path, segments: Sequence[Segment], threads: int) -> list[int]:
    """For each segment how many of its scores a fresh interpreter at that precision computes otherwise.

    It starts from the segment's cache. All bits of the scores count.
    """
    found = []
    for segment in segments:
        fresh = TokenModel(nq.Interpreter(path, precision=segment.bits, num_threads=threads))
        fresh.cache = segment.start.copy()
        token, differ = segment.first, 0
        for wanted in segment.scores:
            scores = fresh.feed([token])[0]
            differ += not np.array_equal(scores.view(np.int32), wanted.view(np.int32))
            token = int(wanted.argmax())
        found.append(differ)
    return found


def planned_switches(text: str) -> dict[int, str]:
    """Precisions by the number of tokens before them.

    >>> planned_switches("12:4,24:full")
    {12: '4', 24: 'full'}
    """
    planned = {}
    for part in filter(None, text.split(",")):
        count, _, bits = part.partition(":")
        if not (count.isdecimal() and (bits.isdecimal() or bits in _NAMES)):
            raise NqError("--switch-at", expected="TOKENS:BITS,... such as 12:4,24:full", got=repr(part))
        planned[int(count)] = bits
    return planned


class Conversation:
    """Questions and answers on one cache.

    Args:
      interpreter: of a nested file.
      tokenizer: of the package `tokenizers`.
      governor: switches the interpreter too; None for none.
      typed: lines that the user types meanwhile.
      keep: as `Generation`.
    """

    def __init__(
        self,
        interpreter: nq.Interpreter,
        tokenizer: Any,
        governor: nq.Governor | None = None,
        typed: queue.Queue[str | None] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self._interpreter, self._tokenizer, self._governor = interpreter, tokenizer, governor
        self._typed = typed or queue.Queue()
        self.generation = Generation(interpreter, keep=keep)
        self._asked = False

    def answer(self, question: str, most: int, planned: Mapping[int, str]) -> Iterator[str]:
        """Pieces of the answer's text, and a line of its own for each switch."""
        system = "" if self._asked else f"<|im_start|>system\n{_SYSTEM}{_END}\n"
        start = f"{_END}\n" if self._asked else ""
        text = f"{start}{system}<|im_start|>user\n{question}{_END}\n<|im_start|>assistant\n"
        self._asked = True
        prompt, end = self._tokenizer.encode(text).ids, self._tokenizer.token_to_id(_END)
        tokens: list[int] = []
        shown = ""
        for token in self.generation.tokens(prompt, most, end):
            if token == end:
                return
            tokens.append(token)
            so_far = self._tokenizer.decode(tokens)
            if not so_far.endswith("\N{REPLACEMENT CHARACTER}"):  # half of a letter: the rest comes with the next token
                yield so_far[len(shown) :]
                shown = so_far
            yield from self._switches(len(tokens), planned)

    def switched(self, typed: str) -> str:
        """Switches to "/part", "full", "/4" or the like; what that did, or why it cannot be."""
        name = typed.strip().removeprefix("/")
        try:
            return str(self._interpreter.switch(int(name) if name.isdecimal() else name))
        except NqError as error:
            return str(error)

    def _switches(self, count: int, planned: Mapping[int, str]) -> Iterator[str]:
        wanted = [planned[count]] if count in planned else []
        while not self._typed.empty():
            line = self._typed.get_nowait()
            if line is None:
                self._typed.put(None)
                break
            wanted.append(line)
        for each in wanted:
            yield f"\n[after {count} tokens: {self.switched(each)}]\n"
        for each in self._governor.step() if self._governor else ():
            moved = f"{each.bytes_moved / 1e6:.1f} MB in {1e3 * each.seconds:.2f} ms"
            yield f"\n[after {count} tokens: {each.from_bits} to {each.to_bits} bits, {each.reason}: {moved}]\n"


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.option("--ask", help="One question; without it questions are read from the terminal.")
@click.option("--precision", type=PRECISION, default="full", show_default=True, help="Precision to begin with.")
@click.option(
    "--switch-at",
    "planned",
    type=Value("TOKENS:BITS,...", planned_switches),
    default="",
    help="Switches after so many tokens of an answer, such as 12:4,24:full.",
)
@click.option("--policy", type=POLICY, help="A governor's, which then switches too: memory, thermal, a .toml file, ...")
@click.option("--tokens", type=WholeNumber(), default=128, show_default=True, help="Tokens of an answer, at the most.")
@click.option("--threads", type=WholeNumber(), default=2, show_default=True, help="Threads of the runtime.")
@click.option("--verify", is_flag=True, help="Compute every token anew with a fresh interpreter.")
def chat(
    model: Path,
    ask: str | None,
    precision: str,
    planned: Mapping[int, str],
    policy: str | None,
    tokens: int,
    threads: int,
    verify: bool,
) -> None:
    """Answer questions with a nested language model, whose precision changes between two tokens."""
    interpreter = nq.Interpreter(model, precision=precision, num_threads=threads)
    governor = nq.Governor(interpreter, policy) if policy else None
    typed: queue.Queue[str | None] = queue.Queue()
    conversation = Conversation(interpreter, read_tokenizer(model), governor, typed, keep=verify)
    if ask is None:
        click.echo("Type a question; while the answer comes, /part, /full or /4 switches. Ctrl-D ends.")
        threading.Thread(target=_read_lines, args=(typed,), daemon=True).start()
        questions = iter(typed.get, None)
    else:
        questions = iter([ask])
    for question in questions:
        if question.startswith("/"):
            click.echo(conversation.switched(question))
            continue
        for piece in conversation.answer(question, tokens, planned):
            click.echo(piece, nl=False)
        click.echo()
    if verify:
        _verify(model, conversation.generation.segments, threads)


def _read_lines(typed: queue.Queue[str | None]) -> None:
    for line in sys.stdin:
        typed.put(line.strip())
    typed.put(None)


def _verify(model: Path, segments: Sequence[Segment], threads: int) -> None:
    differing = differing_tokens(model, segments, threads)
    for segment, differ in zip(segments, differing, strict=True):
        click.echo(f"{len(segment.scores)} tokens at {segment.bits} bits computed anew: {differ} differ")
    if any(differing):
        got = f"{sum(differing)} that differ"
        raise NqError("switches", expected="every score as a fresh interpreter computes it", got=got)


if __name__ == "__main__":
    chat(prog_name="python -m nq_tflite_models.chat")
