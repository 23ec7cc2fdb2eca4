"""`make figures`: draws the documentation's figures anew, into this folder or into the one that is given."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from canvas import WIDTH, Palette, arrow, box, draw, plain_axes
from matplotlib.figure import Figure

from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Nesting

HERE = Path(__file__).resolve().parent
BENCHMARKS = HERE.parent / "benchmarks.md"


def paint_switch(figure: Figure, palette: Palette) -> None:
    """What measure_switch.py has measured: memory and agreement of a model that switches, beside a stock one.

    A figure for a phone says the same in shorter lines.
    """
    narrow = figure.get_figwidth() < WIDTH
    room, small = (1.36, {"fontsize": 8}) if narrow else (1.2, {})
    measured = json.loads((HERE / "switch.json").read_text())
    nested, stock = measured["nested"], measured["stock"]
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    switches = [switch[0] for switch in nested["switches"]]
    times, held = np.array(nested["memory"]).T
    end = max(times[-1], stock["memory"][-1][0])
    held, stock_held = held / 1e6, np.array(stock["memory"])[:, 1] / 1e6
    edges = [0.0, *switches, end]

    stock_look = {"color": palette.ink, "linestyle": (0, (1, 1.5)), "linewidth": 1.4}
    top.plot(np.array(stock["memory"])[:, 0], stock_held, **stock_look)
    top.text(0.05, stock_held[-1] + 0.25, f"stock INT8: {np.median(stock_held):.1f} MB", va="bottom", **small)
    stretches = list(zip(edges, edges[1:], measured["precisions"], strict=False))
    colours = {"part": palette.part, "full": palette.full}
    for start, stop, name in stretches:
        level = np.median(held[(times > start + 0.3) & (times < stop)])
        inside = (times >= start) & (times < stop)
        at, seen = [start, *times[inside], stop], [level, *held[inside], level]
        top.plot(at, seen, color=colours[name], linewidth=2)
        top.fill_between(at, 0, seen, color=colours[name], alpha=0.18, linewidth=0)
        top.text((start + stop) / 2, level / 2, f"{name}-bit\n{level:.1f} MB", ha="center", va="center")
    for at, moved, seconds in nested["switches"]:
        between = "\n" if narrow else " "
        note = f"switch: {moved / 1e6:.2f} MB{between}in {1e3 * seconds:.2f} ms"
        top.text(at + 0.06, (room - 0.01) * stock_held.max(), note, va="top", fontsize=8)
        for axes in (top, bottom):
            axes.axvline(at, color=palette.faint, linewidth=0.8)
    top.set_ylim(0, room * stock_held.max())
    what = "memory, MB" if narrow else "memory that the model adds to its process, MB"
    top.set_title(f"{measured['model']}: {what}")

    for axes in (top, bottom):
        axes.grid(axis="y")
    stock_rate = 100 * stock["agreement"][0]
    bottom.plot([0, end], [stock_rate] * 2, **stock_look)
    rates = [100 * each for each in nested["agreement"]]
    for (start, stop, name), rate in zip(stretches, rates, strict=True):
        bottom.plot([start, stop], [rate, rate], color=colours[name], linewidth=2)
        away, side = (1.2, "bottom") if rate > stock_rate else (-1.2, "top")  # from the dotted line
        bottom.text((start + stop) / 2, rate + away, f"{rate:.1f} %", ha="center", va=side)
    bottom.text(0.05, stock_rate + 0.7, f"stock INT8: {stock_rate:.1f} %", va="bottom", **small)
    bottom.set_ylim(min(rates) - 8, 103)
    bottom.set_xlim(0, end)
    bottom.set_xlabel("seconds")
    frames = "%" if narrow else f"% of {measured['frames']} frames"
    bottom.set_title(f"answers that are the float model's, {frames}")


def paint_generation(figure: Figure, palette: Palette) -> None:
    """What measure_generation.py has measured: memory and time of each token of an answer with two switches."""
    measured = json.loads((HERE / "generation.json").read_text())
    held, pace = np.array(measured["memory"]) / 1e6, 1e3 * np.array(measured["seconds"])
    pace[0] = np.nan  # reads the question
    edges = [0, *(count for count, _, _ in measured["switches"]), len(held)]
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for bits, start, end in zip(measured["bits"], edges[:-1], edges[1:], strict=True):
        colour = palette.full if bits == max(measured["bits"]) else palette.part
        tokens = np.arange(start, end) + 0.5
        for axes, values, unit in ((top, held, "MB"), (bottom, pace, "ms")):
            middle = np.nanmedian(values[start:end])
            axes.plot(tokens, values[start:end], color=colour, linewidth=2)
            axes.fill_between(tokens, 0, values[start:end], color=colour, alpha=0.18, linewidth=0)
            name = f"{bits} bits: " if axes is top else ""
            look = {"ha": "center", "va": "center"}
            axes.text((start + end) / 2, middle / 2, f"{name}{middle:.{1 if axes is bottom else 0}f} {unit}", **look)
    for count, moved, seconds in measured["switches"]:
        note = f"switch: {moved / 1e6:.1f} MB in {1e3 * seconds:.2f} ms"
        top.text(count + 0.5, 1.19 * held.max(), note, va="top", fontsize=8)
        for axes in (top, bottom):
            axes.axvline(count, color=palette.faint, linewidth=0.8)
    for axes, values in ((top, held), (bottom, pace)):
        axes.set_ylim(0, 1.2 * np.nanmax(values))
        axes.set_xlim(0, len(held))
        axes.grid(axis="y")
    top.set_title(f"{measured['model']}: memory that the model adds to its process, MB")
    bottom.set_title("time of a token, ms")
    bottom.set_xlabel("tokens of the answer")


def paint_levels(figure: Figure, palette: Palette) -> None:
    """The bits of one weight in two levels, and the cells of a number line that part-bit knows."""
    nesting, code = Nesting.parse("8|5"), 0x5A
    axes = plain_axes(figure, 16, 8.4)
    bits = f"{code:08b}"
    axes.text(0.3, 7.95, f"one weight, code {code}, nested 8|5", va="center", fontweight="bold")
    for index, bit in enumerate(bits):
        base = index < nesting.part_bits
        gap = 0 if base else 0.7
        colour = palette.part if base else palette.full
        box(axes, 0.3 + 1.15 * index + gap, 6.25, 1.0, 1.0, bit, colour=colour, size=11, fill=0.25)
    axes.text(3.1, 5.8, "level 0: 5 bits, part-bit's", ha="center", va="center", color=palette.part)
    axes.text(8.5, 5.8, "level 1: 3 bits, the residual", ha="center", va="center", color=palette.full)
    part = int(value_at(np.array([[code]], np.int8), nesting, 0)[0, 0])
    axes.text(10.8, 7.0, f"full-bit reads both: {code}", va="center")
    axes.text(10.8, 6.45, f"part-bit reads level 0: {part}", va="center")

    first, last, unit, left = 72, 103, 15.2 / 32, 0.4
    codes = np.arange(first, last + 1, dtype=np.int8)[:, None]
    middles = value_at(np.repeat(codes, 2, axis=1), nesting, 0)
    axes.text(0.3, 4.55, "the same on the number line", va="center", fontweight="bold")

    def at(value: float) -> float:
        return left + unit * (value - first + 0.5)

    for cell, start in enumerate(range(first, last + 1, 8)):
        look = {
            "colour": palette.part,
            "fill": 0.22 if start <= code < start + 8 else 0.07,
            "line": 0.8,
            "rounded": False,
        }
        box(axes, at(start) - unit / 2, 1.75, 8 * unit, 1.5, "", **look)
        axes.text(at(start + 3.5), 3.55, f"cell {start} to {start + 7}", ha="center", va="center", fontsize=8)
        for value in sorted(set(middles[8 * cell].tolist())):
            axes.plot(at(value), 2.85, marker="D", markersize=6, color=palette.part)
    axes.plot([at(v) for v in codes[:, 0]], [2.15] * len(codes), "o", markersize=3.2, color=palette.full)
    axes.plot(at(code), 2.15, "o", markersize=8, markerfacecolor="none", color=palette.full, markeredgewidth=1.6)
    for value in range(first, last + 1, 8):
        axes.text(at(value), 1.4, str(value), ha="center", va="center", fontsize=7.5, color=palette.faint)
    axes.text(at(code), 1.4, str(code), ha="center", va="center", fontsize=8, color=palette.full)
    axes.plot(0.55, 0.75, "o", markersize=3.5, color=palette.full)
    axes.text(0.85, 0.75, "full-bit: every code", va="center")
    axes.plot(5.1, 0.75, "D", markersize=6, color=palette.part)
    axes.text(5.4, 0.75, "part-bit: the middle of each cell, by turns its two middle codes", va="center")


def paint_file(figure: Figure, palette: Palette) -> None:
    """The file from its first byte to its last, and what of it a process holds at each precision."""
    axes = plain_axes(figure, 16, 7.6)
    pieces = [
        (0.3, 3.0, "flatbuffer root\ngraph, tensors,\nsection table", palette.faint),
        (4.1, 6.6, "section 0\nlevel 0 of every weight", palette.part),
        (11.5, 4.2, "section 1\nlevel 1 of every weight", palette.full),
    ]
    axes.text(0.3, 7.2, "the file", fontweight="bold", va="center")
    for x, width, text, colour in pieces:
        box(axes, x, 4.9, width, 1.9, text, colour=colour, rounded=False)
    for x, width in ((3.3, 0.8), (10.7, 0.8)):
        box(axes, x, 4.9, width, 1.9, "", colour=palette.faint, rounded=False, fill=0, dashes=":", line=0.8)
        axes.text(x + width / 2, 5.85, "0", ha="center", va="center", color=palette.faint)
    for x, text in ((4.1, "multiple of 16 KiB"), (11.5, "multiple of 16 KiB")):
        axes.plot([x, x], [4.35, 6.95], color=palette.ink, linewidth=1.2)
        axes.text(x, 4.1, text, ha="center", va="center", fontsize=8)
    for y, name, held in ((2.3, "held at full-bit", (0, 1, 2)), (0.9, "held at part-bit", (0, 1))):
        axes.text(0.3, y + 0.75, name, va="center", fontsize=8.5)
        for index, (x, width, _, colour) in enumerate(pieces):
            look = {"fill": 0.45, "line": 0.8} if index in held else {"fill": 0, "line": 0.8, "dashes": ":"}
            text = "" if index in held else "released"
            box(axes, x, y - 0.1, width, 0.5, text, colour=colour, rounded=False, size=7, **look)


def paint_switching(figure: Figure, palette: Palette) -> None:
    """An upgrade and a downgrade between two invocations, and one during an invocation, along time."""
    axes = plain_axes(figure, 16, 6.2)
    rows = {"invocations": 4.4, "another thread": 2.9, "residual held": 1.4}
    for name, y in rows.items():
        axes.text(0.2, y + 0.35, name, va="center")
    runs = [(3.0, 2.2, "part"), (5.4, 2.2, "part"), (8.0, 2.2, "full"), (10.4, 2.2, "full"), (12.8, 2.2, "part")]
    for x, width, name in runs:
        colour = palette.part if name == "part" else palette.full
        box(axes, x, rows["invocations"], width, 0.75, f"{name}-bit", colour=colour, size=8)
    calls = [(6.3, 'switch("full")', "reads, checks"), (10.5, 'switch("part")', "returns at once")]
    for x, text, note in calls:
        box(axes, x, rows["another thread"], 1.9, 0.75, text, colour=palette.third, size=7)
        axes.text(x + 2.3, rows["another thread"] + 0.35, note, fontsize=7.5, va="center", color=palette.faint)
    box(axes, 6.9, rows["residual held"], 5.7, 0.6, "", colour=palette.full, fill=0.4, line=0, rounded=False)
    axes.plot([3.0, 15.0], [rows["residual held"]] * 2, color=palette.faint, linewidth=0.8)
    arrow(axes, (8.0, 3.65), (8.0, 4.35), palette.ink)
    arrow(axes, (12.6, 4.35), (12.6, 2.05), palette.ink)
    axes.text(7.7, 5.55, "in force at the next invocation", ha="center", va="center", fontsize=8)
    axes.text(13.1, 5.55, "released when the running one ends", ha="center", va="center", fontsize=8)
    arrow(axes, (2.8, 0.6), (15.4, 0.6), palette.faint)
    axes.text(15.4, 0.25, "time", ha="right", va="center", fontsize=8, color=palette.faint)


def paint_rounding(figure: Figure, palette: Palette) -> None:
    """Logit SNR of part-bit by rounding method: the numbers of the benchmarks page's table."""
    rows = rounding_table(BENCHMARKS.read_text())
    axes = figure.subplots()
    looks = {"8|6": (palette.third, "o"), "8|5": (palette.part, "D"), "8|4": (palette.full, "s")}
    names = list(rows)[::-1]
    for column, (nesting, (colour, marker)) in enumerate(looks.items()):
        values = [rows[name][column] for name in names]
        axes.plot(values, range(len(names)), marker, color=colour, markersize=6.5, label=nesting)
    axes.set_yticks(range(len(names)), names)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("signal-to-noise ratio of the logits, dB")
    axes.set_title("MobileNetV2 at part-bit, weights alone rounded")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3)


def rounding_table(page: str) -> dict[str, tuple[float, ...]]:
    """Part-bit's SNR of MobileNetV2 at 8|6, 8|5 and 8|4 by method, from the page's table of methods."""
    lines = [line for line in page.splitlines() if line.count(" / ") == 6 and not line.startswith("| *full-bit")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: tuple(float(re.split(" / ", cell)[1]) for cell in row[2:5]) for row in cells}


def paint_plugin(figure: Figure, palette: Palette) -> None:
    """A piece of a nested graph as it stands in the file, and as it runs with the plugin."""
    axes = plain_axes(figure, 16, 9.2)
    axes.text(0.3, 8.85, "in the file", fontweight="bold", va="center")
    axes.text(8.9, 8.85, "as it runs", fontweight="bold", va="center")
    operators = ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD"]
    for index, name in enumerate(operators):
        y = 7.0 - 1.75 * index
        box(axes, 4.4, y, 3.6, 0.95, name, colour=palette.faint, size=7.5)
        if name != "ADD":
            box(axes, 0.3, y, 3.5, 0.95, "NQ_UNPACK_DEQUANT\nlevel 0 · level 1", colour=palette.part, size=7)
            arrow(axes, (3.8, y + 0.47), (4.4, y + 0.47), palette.part)
        arrow(axes, (6.1, y + 1.7 if index else 8.55), (6.1, y + 0.95), palette.faint)
    axes.text(6.35, 8.4, "INT8 activations", va="center", fontsize=8)
    arrow(axes, (6.1, 1.75), (6.1, 1.0), palette.faint)
    axes.text(6.1, 0.7, "…", ha="center", va="center", fontsize=12)

    box(axes, 8.9, 1.15, 6.8, 7.05, "", colour=palette.full, fill=0.07, line=1.6)
    axes.text(11.2, 7.7, "one partition of the plugin", va="center", color=palette.full)
    steps = ["convolution", "depthwise convolution", "convolution", "addition"]
    for index, name in enumerate(steps):
        y = 6.2 - 1.5 * index
        box(axes, 9.3, y, 3.3, 0.9, name, colour=palette.full, size=8)
        if index < 3:
            arrow(axes, (10.95, y), (10.95, y - 0.6), palette.full)
        if name != "addition":
            arrow(axes, (13.1, y + 0.45), (12.6, y + 0.45), palette.ink)
            axes.text(13.2, y + 0.45, "packed levels,\nas mapped", va="center", fontsize=7.5)
    arrow(axes, (10.95, 8.75), (10.95, 7.1), palette.faint)
    arrow(axes, (10.95, 1.7), (10.95, 1.0), palette.faint)
    axes.text(10.95, 0.5, "what has no kernel here: the runtime's", ha="center", va="center", fontsize=8)


#: Name, what paints it, and its width and height in inches.
FIGURES: dict[str, tuple[Callable[[Figure, Palette], Any], tuple[float, float]]] = {
    "switch": (paint_switch, (WIDTH, 3.6)),
    "switch-narrow": (paint_switch, (3.75, 4.6)),
    "generation": (paint_generation, (WIDTH, 3.6)),
    "levels": (paint_levels, (WIDTH, 3.7)),
    "file": (paint_file, (WIDTH, 3.3)),
    "switching": (paint_switching, (WIDTH, 2.7)),
    "rounding": (paint_rounding, (WIDTH, 3.1)),
    "plugin": (paint_plugin, (WIDTH, 4.3)),
}


def main(folder: Path = HERE) -> None:
    """Draws them all."""
    for name, (paint, size) in FIGURES.items():
        draw(name, paint, size, folder)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
