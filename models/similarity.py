"""`python -m nq_tflite_models.similarity`: a sentence encoder's similarities at every level, beside the float model's
and people's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from nq_tflite_models.measure.options import nestings_option

from nq_tflite.cli.console import (
    NqCommand,
    decibels,
    json_option,
    print_json,
    print_lines,
    print_table,
    progress_bar,
    without_native_chatter,
)
from nq_tflite.cli.parameters import FILE, OneOf, WholeNumber
from nq_tflite.errors import ModelSourceError, needing_extra
from nq_tflite.units import bytes_text

if TYPE_CHECKING:
    from nq_tflite_models.measure.similarity import Correlation, SimilarityRow

_EPILOG = """\b
Examples:
  python -m nq_tflite_models.similarity STS2015.images.tsv \\
    --weights paraphrase-MiniLM-L3-v2.onnx --vocabulary vocab.txt
  python -m nq_tflite_models.similarity SICK_test_annotated.txt --pairs 1000 \\
    --calibration SICK_train.txt --weights model.safetensors \\
    --vocabulary tokenizer.json --nesting '8|5' --nesting '8|4' --json

\b
PAIRS has lines of score, sentence, sentence, separated by tabs, as
SemEval's STS; or a header with sentence1 and sentence2, or SICK's. Where people
scored some pairs, the others are left out.

\b
Intervals are of 95 %, by a bootstrap of the pairs. What is calibrated with is
never evaluated.

Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted."""


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("pairs", type=FILE)
@click.option("--weights", required=True, type=FILE, help="Of a BERT: a .onnx, .safetensors, .bin or .pth file.")
@click.option("--vocabulary", required=True, type=FILE, help="Its tokenizer.json, or the vocab.txt of an uncased one.")
@click.option("--heads", type=WholeNumber(), default=12, show_default=True, help="Of the net's attention.")
@click.option("--tokens", type=WholeNumber(), default=48, show_default=True, help="Length that sentences are cut to.")
@click.option("--pairs", "most", type=WholeNumber(), default=1000, show_default=True, help="Most to evaluate.")
@click.option("--calibration", type=FILE, help="Other pairs to calibrate with; some of PAIRS if not given.")
@click.option(
    "--num-calibration",
    type=WholeNumber(),
    default=128,
    show_default=True,
    help="Sentences to calibrate with, at most.",
)
@click.option("--seed", type=WholeNumber(least=0), default=0, show_default=True, help="Of the draws of pairs.")
@click.option(
    "--activations", type=OneOf(("float", "int8")), default="float", show_default=True, help="float: dynamic range."
)
@nestings_option(show_default="8|4")
@click.option("--litert-quantizer", "quantized", is_flag=True, help="LiteRT Quantizer's INT4 blocks too.")
@click.option("--threads", type=WholeNumber(), default=1, show_default=True, help="Threads of the runtime.")
@json_option
def similarity(
    pairs: Path,
    weights: Path,
    vocabulary: Path,
    heads: int,
    tokens: int,
    most: int,
    calibration: Path | None,
    num_calibration: int,
    seed: int,
    activations: Any,
    nestings: tuple[str, ...],
    quantized: bool,
    threads: int,
    as_json: bool,
) -> None:
    """Compare an encoder's files on pairs of sentences: float, stock, LiteRT Quantizer's, nested at every level."""
    with needing_extra("text", "measuring similarities"):
        from nq_tflite_models.measure.sentence_pairs import Tokenizer, read_pairs
        from nq_tflite_models.measure.similarity import compare_similarities
        from nq_tflite_models.nets.bert import sentence_encoder
    tokenizer, table = Tokenizer(vocabulary, tokens), read_pairs(pairs)
    if calibration is None:
        chosen, rest = table.drawn((num_calibration + 1) // 2, seed)
    else:
        chosen, _ = read_pairs(calibration).drawn((num_calibration + 1) // 2, seed)
        rest = table
    evaluated, _ = rest.judged().drawn(most, seed)
    if len(evaluated) < 3:
        raise ModelSourceError(
            f"sentence pairs {pairs}", expected="at least three to evaluate", got=str(len(evaluated))
        )
    with without_native_chatter(), progress_bar() as progress:
        rows = compare_similarities(
            sentence_encoder(weights, tokens=tokens, heads=heads),
            tokenizer(evaluated.sentences()),
            evaluated.scores,
            tokenizer(chosen.sentences()[:num_calibration]),
            nestings=nestings or ("8|4",),
            activations=activations,
            quantized=quantized,
            num_threads=threads,
            progress=progress,
        )
    said = {"pairs": str(pairs), "evaluated": len(evaluated), "calibration": str(calibration or pairs), "seed": seed}
    if as_json:
        print_json(said | {"weights": str(weights), "tokens": tokens, "rows": [row.as_dict() for row in rows]})
        return
    print_lines(
        f"{weights.name} on {pairs.name}, n = {len(evaluated):,} pairs, {tokens} tokens",
        f"calibrated with {min(num_calibration, 2 * len(chosen))} sentences of {Path(said['calibration']).name} "
        f"that are not among them (seed {seed})",
    )
    columns = ("file", "bits", "size", "SNR dB", "Pearson to float", "Spearman to float", "to people", "less float")
    print_table("similarities", columns, [_cells(row) for row in rows], left=2)
    print_lines(*(f"{row.file}: {row.note}" for row in rows if row.note))


def _cells(row: SimilarityRow) -> list[str]:
    bits = "" if row.bits is None else f"{row.bits} of {row.nesting}"
    if row.snr_db is None or row.pearson is None:
        return [row.file, bits, *("-" for _ in range(6))]
    return [
        *(row.file, bits, bytes_text(row.bytes), decibels(row.snr_db), f"{row.pearson:.4f}"),
        *map(_interval, (row.spearman, row.people)),
        _interval(row.less_float, "+"),
    ]


def _interval(found: Correlation | None, sign: str = "") -> str:
    """.8123 [.80,.83]"""
    return "" if found is None else f"{found.value:{sign}.4f} [{found.low:{sign}.4f},{found.high:{sign}.4f}]"


if __name__ == "__main__":
    similarity(prog_name="python -m nq_tflite_models.similarity")
