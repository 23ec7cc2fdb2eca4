"""Counts the instructions that one inference executes on emulated Arm CPUs, nested and stock, by function, and models
the cycles of its blocks: `make count-arm-nets`. Names of nets as arguments count these alone, `NAME:float` at dynamic
range.

Neither is a time. A count knows nothing of latencies, caches or memory. A model (llvm-mca) has pipes and latencies, but
each block runs by itself, over and over, with all memory in the L1 cache and every branch foreseen. LLVM takes the
Cortex-A57's model for the Cortex-A72, and Neoverse N1 and V1 stand for the Cortex-A76 and X1 here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import arm64
from executed_blocks import RUNTIME, Block, executed_blocks, modelled_cycles, our_code, spills
from nq_tflite_models.measure.comparison import model_files

NETS = ("mobilenet_v2", "resnet50", "efficientnet_lite0", "ds_cnn_l", "mobilenet_v2:float", "deit_s:float")
#: What the blocks that ran on an emulated CPU are modelled for.
MODELS = {
    "cortex-a72": ("cortex-a72",),
    "cortex-a76": ("neoverse-n1", "neoverse-v1"),
    arm64.I8MM: ("neoverse-n2", "neoverse-v1"),
}
#: The modelled blocks' share of all instructions.
COVERED = 0.985
#: The share of moves of vectors to the stack and back in what our library executes: more shows a compiler that lacks
#: registers, or keeps sums in memory.
MOST_SPILLS = 0.03
LIBRARY = "libnq_tflite.so"
#: The same code with symbols, which wheels lack.
TWIN = arm64.BUILD / "symbols" / LIBRARY
KINDS = ("matrix", "depthwise", "unpacking", "rest")


def kind_of(block: Block) -> str:
    """What a block's function is for."""
    name = block.function
    if block.library.name == LIBRARY:
        words = {"unpack": "unpacking", "Depthwise": "depthwise", "Gemm": "matrix", "MatrixSizes": "matrix"}
        words |= {"requantize": "matrix", "dequantize": "matrix"}
    else:
        words = {"dwconv": "depthwise", "DepthwiseConv": "depthwise", "gemm": "matrix", "kai_": "matrix"}
    return next((kind for word, kind in words.items() if word in name), "rest")


def hottest(blocks: list[Block]) -> list[Block]:
    """Those that make up most of all instructions."""
    total, covered, found = sum(block.executed for block in blocks), 0.0, []
    for block in blocks:
        if covered > COVERED * total:
            break
        covered += block.executed
        found.append(block)
    return found


def millions(blocks: list[Block]) -> dict[str, float]:
    """Millions of instructions by kind."""
    by_kind = dict.fromkeys(KINDS, 0.0)
    for block in blocks:
        by_kind[kind_of(block)] += block.executed / 1e6
    return by_kind


def spilled_share(blocks: list[Block]) -> float:
    """The share of what our library executes that moves vectors to the stack and back."""
    ours = [block for block in blocks if block.library.name == LIBRARY]
    executed = sum(block.executed for block in ours)
    return sum(spills(block) * block.times for block in ours) / executed if executed else 0.0


def check_symbols(installed: Path, twin: Path) -> None:
    """Ends the program if a function of ours has other code in the twin, or stands elsewhere."""
    found, expected = our_code(installed, twin), our_code(twin, twin)
    other = [name for name, code in expected.items() if found[name] != code]
    if other or not expected:
        sys.exit(
            f"{twin}: expected the code of {installed}, found other code in {len(other)} of {len(expected)} functions; "
            "build both anew with `make wheels` and `make count-arm-nets`"
        )


@dataclass(frozen=True)
class Count:
    """One inference.

    Attributes:
        by_kind: millions of instructions of each kind.
        cycles: modelled, in millions, of the hottest blocks, for each of the CPU's models.
        spilled: as spilled_share says, of the hottest blocks.
    """

    by_kind: dict[str, float]
    cycles: tuple[float, ...]
    spilled: float

    @property
    def figures(self) -> tuple[float, ...]:
        """Millions of instructions, then of cycles."""
        return (sum(self.by_kind.values()), *self.cycles)


def count(cpu: str, path: str, precision: str) -> Count:
    """Runs a file on an emulated CPU; `precision` is "" for a stock file."""
    blocks = executed_blocks(cpu, path, precision, {LIBRARY: TWIN})
    hot = hottest(blocks)
    cycles = [sum(modelled_cycles(each, model) * each.times for each in hot) / 1e6 for model in MODELS[cpu]]
    return Count(millions(blocks), tuple(cycles), spilled_share(hot))


def line_of(name: str, found: Count, stock: Count, models: Sequence[str]) -> str:
    """What one row of the table says: instructions by kind, and cycles; ratios are those over stock."""
    pairs = zip(found.figures, stock.figures, strict=True)
    executed, *cycles = (f"{figure:8.2f} ({figure / of_stock:.2f})" for figure, of_stock in pairs)
    kinds = "".join(f"{found.by_kind[kind]:10.2f}" for kind in KINDS)
    modelled = ", ".join(f"{model} {each.strip()}" for model, each in zip(models, cycles, strict=True))
    return f"  {name:6}{executed}{kinds}   {modelled}" + (f", spills {found.spilled:.1%}" if name != "stock" else "")


def main(names: Sequence[str]) -> None:
    check_symbols(arm64.SITE / "nq_tflite" / LIBRARY, TWIN)
    worst = 0.0
    for name in names or NETS:
        net, _, range_kind = name.partition(":")
        files = model_files(net, arm64.BUILD / "nets", activations="float" if range_kind == "float" else "int8")
        print(f"\n{name}, {RUNTIME}, 1 thread, {files.multiply_accumulates / 1e6:.1f} M multiply-accumulates")
        print(
            "  millions of instructions" + "".join(f"{kind:>10}" for kind in KINDS) + "   modelled millions of cycles"
        )
        for cpu, models in MODELS.items():
            print(cpu)
            stock = count(cpu, files.stock, "")
            print(line_of("stock", stock, stock, models), flush=True)
            for precision in ("full", "part"):
                ours = count(cpu, files.nested, precision)
                print(line_of(precision, ours, stock, models), flush=True)
                worst = max(worst, ours.spilled)
    if worst > MOST_SPILLS:
        sys.exit(f"the wheel's compiler moves vectors to the stack: {worst:.1%} of what {LIBRARY} executes")


if __name__ == "__main__":
    main(sys.argv[1:])
