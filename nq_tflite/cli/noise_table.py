"""What each activation costs, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nq_tflite.cli.console import decibels, layer_labels, percent, print_lines, print_table, shape_text

if TYPE_CHECKING:
    from nq_tflite.measure.activation_noise import ActivationNoise

#: Rows, unless all are asked for.
_FEW = 12


def print_activation_noise(result: ActivationNoise, *, every: bool) -> None:
    """A row a tensor, the worst first; the first ones, or every one."""
    shown = result.tensors if every else result.tensors[:_FEW]
    labels = layer_labels([each.name for each in shown])
    rows = [
        [label, each.operator, shape_text(each.shape), f"{each.scale:.4g}", decibels(each.snr_db), percent(each.share)]
        for label, each in zip(labels, shown, strict=True)
    ]
    columns = ("activation", "of", "shape", "scale", "SNR, dB", "of the noise")
    print_table(f"{result.path}, {result.num_inputs} inputs, {result.runtime}", columns, rows, left=3)
    left_out = len(result.tensors) - len(shown)
    rest = sum(each.share for each in result.tensors[len(shown) :])
    print_lines(
        *([f"{left_out} others, with {percent(rest)} of the noise: --layers"] if left_out else []),
        "SNR: of the outputs, with this activation alone rounded to its codes and weights as at full-bit",
        f"all activations at once: {decibels(result.together_db)} dB; if their noise added up: "
        f"{decibels(result.sum_db)} dB",
    )
