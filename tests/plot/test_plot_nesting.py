"""Figures of the notebooks: what they draw is what was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.govern import Policy
from nq_tflite.govern.traces import Trace
from nq_tflite.plot import answers_figure, bits_figure, cells_figure, residuals_figure, served_figure
from nq_tflite.plot.style import COLOURS

CODES = np.array([0x5A, -0x5A, 3, -4, 127, -126, 0, 17, 64], np.int8)


def texts(axes: Any) -> list[str]:
    return [each.get_text() for each in axes.texts]


@pytest.mark.parametrize("name", ["8|5", "8|6|4", "6|4"])
def test_bits_are_those_of_the_codes(name: str) -> None:
    nesting = Nesting.parse(name)
    shift = 8 - nesting.full_bits
    codes = (CODES >> shift) << shift
    squares, values = bits_figure(codes, nesting).axes
    drawn = np.array([int(each) for each in texts(squares)]).reshape(nesting.full_bits, codes.size)
    np.testing.assert_array_equal(drawn, np.unpackbits(codes.view(np.uint8)[None], axis=0)[: nesting.full_bits])
    read = np.array([int(each) for each in texts(values)]).reshape(len(nesting.precisions), codes.size)
    for row, level in zip(read, reversed(range(len(nesting.precisions))), strict=True):
        np.testing.assert_array_equal(row, value_at(codes[None], nesting, level)[0] >> shift)


def test_long_filters_are_cut() -> None:
    squares, _ = bits_figure(np.zeros(100, np.int8), Nesting.parse("8|5")).axes
    assert len(texts(squares)) == 8 * 16


def test_each_code_leads_to_its_value() -> None:
    nesting = Nesting.parse("8|5")
    cells, multiples = cells_figure(CODES, nesting, (CODES >> 3) << 3, start=-32, stop=32).axes
    part = value_at(CODES[None], nesting, 0)[0]
    inside = [index for index, code in enumerate(CODES.tolist()) if -32 <= code < 32]
    for axes, values in ((cells, part), (multiples, (CODES >> 3) << 3)):
        moves = [
            tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"
        ]
        assert moves == [(CODES[index], values[index]) for index in inside]
    assert texts(cells) == ["11100", "11101", "11110", "11111", "00000", "00001", "00010", "00011"]


def test_cells_alone_are_one_panel() -> None:
    assert len(cells_figure(CODES, Nesting.parse("8|4")).axes) == 1


def test_residuals_say_their_bits() -> None:
    figure = residuals_figure({"cells": np.arange(8), "multiples": np.arange(-4, 5)})
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["cells: 0 to 7, 8 values, 3 bits", "multiples: -4 to 4, 9 values, 4 bits"]
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == pytest.approx(100)


def test_answers_that_differ_stand_out() -> None:
    photos = [Image.new("RGB", (30, 20)), np.zeros((20, 20, 3), np.uint8)]
    figure = answers_figure(
        photos, [["cat", "cat"], ["cup", "cat"]], ["8 bits", "5 bits"], notes=[["9%", "8%"], ["", ""]]
    )
    first, second, *rest = figure.axes
    assert texts(first) == ["8 bits: cat 9%", "5 bits: cat 8%"]
    assert [each.get_color() == COLOURS[1] for each in second.texts] == [False, True]
    assert first.images[0].get_array().shape == (20, 20, 3), "the middle square"
    assert not any(axes.images for axes in rest)


def test_served_draws_bounds_and_levels() -> None:
    steps = 100
    trace = Trace("day", 60.0 * np.arange(steps), {"battery": np.linspace(100, 0, steps)})
    bits = [8] * 70 + [5] * 30
    figure = served_figure(
        trace, bits, [bits[step] * 1000 for step in range(steps)], [True] * steps, policy=Policy.named("battery")
    )
    signal, memory, answers = figure.axes
    assert texts(signal) == ["battery below 30", "until 40"]
    assert [each.get_label() for each in memory.collections] == ["8 bits (full)", "5 bits (part)"]
    assert answers.lines[0].get_ydata() == pytest.approx(np.full(steps - 59, 100.0))
