"""Which blocks of instructions an emulated inference executes: of which library, in which function, how often.

The plugin custom_ops/bench/qemu_blocks.cc counts between two marks of one process, so that nothing that a process does
once, as importing modules or loading a model, is in the counts.
"""

from __future__ import annotations

import bisect
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import arm64
import numpy as np

RUNTIME = "ai-edge-litert"
WARM_UPS, INVOCATIONS = 2, 2
#: Arguments: file, precision ("" for the stock Interpreter). Prints where everything is mapped.
PROGRAM = f"""
import os, sys
from nq_tflite import Interpreter
from nq_tflite.device.runtimes import load_runtime
path, precision = sys.argv[1:]
if precision:
    interpreter = Interpreter(path, precision=precision, runtime={RUNTIME!r}, num_threads=1)
else:
    interpreter = load_runtime({RUNTIME!r}).interpreter(path, num_threads=1)
interpreter.allocate_tensors()
for _ in range({WARM_UPS}):
    interpreter.invoke()
os.getsid(0)
for _ in range({INVOCATIONS}):
    interpreter.invoke()
os.getsid(0)
print(open("/proc/self/maps").read())
"""
LLVM = "19"


@dataclass(frozen=True)
class Block:
    """Instructions that follow each other.

    Attributes:
        library: the file that has them; Path() for code that was made at run time.
        address: of the first one, as the library's symbols count.
        count: of instructions; times: that an inference executes them.
        function: the symbol that they belong to, demangled.
    """

    library: Path
    address: int
    count: int
    times: float
    function: str

    @property
    def executed(self) -> float:
        """Instructions that an inference executes here."""
        return self.count * self.times


@dataclass(frozen=True)
class _Mapping:
    start: int
    end: int
    offset: int
    path: Path


def executed_blocks(cpu: str, path: str, precision: str, symbols: dict[str, Path]) -> list[Block]:
    """The blocks of one inference, those that execute most first.

    Args:
      cpu: of arm64.CPUS.
      path, precision: a model's file; the precision of a nested one, "" for a stock one.
      symbols: by a library's name, a file of the same code that has symbols.
    """
    blocks = arm64.BUILD / "blocks.txt"
    blocks.unlink(missing_ok=True)
    plugin = ["-plugin", f"{arm64.BUILD / 'libqemu_blocks.so'},out={blocks}", "-d", "plugin", "-D", "/dev/null"]
    command = arm64.command(cpu, ["-P", "-c", PROGRAM, path, precision], ["-E", "PYTHONHASHSEED=0", *plugin])
    maps = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    mappings = list(_mappings(maps))
    found = []
    for line in blocks.read_text().splitlines():
        at, count, times = line.split()
        found.append(_block(int(at, 16), int(count), int(times) / INVOCATIONS, mappings, symbols))
    return sorted(found, key=lambda block: -block.executed)


def _mappings(maps: str) -> Iterable[_Mapping]:
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 6 or not fields[5].startswith("/"):
            continue
        start, end = (int(each, 16) for each in fields[0].split("-"))
        path = Path(fields[5])
        yield _Mapping(start, end, int(fields[2], 16), path if path.exists() else arm64.BASE / fields[5].lstrip("/"))


def _block(at: int, count: int, times: float, mappings: list[_Mapping], symbols: dict[str, Path]) -> Block:
    for mapping in mappings:
        if mapping.start <= at < mapping.end:
            library = symbols.get(mapping.path.name, mapping.path)
            address = _address(mapping.path, at - mapping.start + mapping.offset)
            return Block(library, address, count, times, function_at(library, address))
    return Block(Path(), at, count, times, "?")


def _address(library: Path, offset: int) -> int:
    for start, address, size in _segments(library):
        if start <= offset < start + size:
            return offset - start + address
    return offset


def _offset(library: Path, address: int) -> int:
    for start, at, size in _segments(library):
        if at <= address < at + size:
            return address - at + start
    raise ValueError(f"{library}: expected something loaded at {address:#x}, found nothing; build it anew")


@cache
def _segments(library: Path) -> list[tuple[int, int, int]]:
    """Offset, address and size of what is loaded of a library."""
    loads = re.findall(r"LOAD +(0x\w+) +(0x\w+) +0x\w+ +(0x\w+)", _run("llvm-readelf", "-lW", library))
    return [(int(offset, 16), int(address, 16), int(size, 16)) for offset, address, size in loads]


def function_at(library: Path, address: int) -> str:
    """The demangled name of the function there, "?" where there are no symbols."""
    addresses, names = _symbols(library)
    index = bisect.bisect(addresses, address) - 1
    return names[index] if index >= 0 else "?"


@cache
def _symbols(library: Path) -> tuple[list[int], list[str]]:
    found = {}
    for options in (["-D"], []):
        listing = _run("llvm-nm", "-C", "--defined-only", *options, library)
        for line in listing.splitlines():
            address, kind, name = line.split(" ", 2)
            if kind in "tTwWi":
                found[int(address, 16)] = name
    return sorted(found), [found[address] for address in sorted(found)]


def our_code(library: Path, twin: Path) -> dict[str, bytes]:
    """The code of a library where its twin, which has symbols, has each function of ours, by mangled name.

    The functions of libc++ are left out: zig compiles it anew for a library with symbols, and then a few pairs of
    instructions change places. What lies behind them is moved, so code is without addresses.
    """
    content = library.read_bytes()
    code = {}
    functions = r"^(\w+) (\w+) [tTwW] (.*(?:2nq|nq_|tflite_plugin).*)$"
    for start, size, name in re.findall(functions, _run("llvm-nm", "-S", "--defined-only", twin), re.MULTILINE):
        offset = _offset(library, int(start, 16))
        code[name] = _without_addresses(content[offset : offset + int(size, 16)])
    return code


#: Instructions by the bits that tell them, and their bits that may come from an address: B and BL; ADR and ADRP; and
#: what takes an address' last 12 bits, ADD and loads and stores with an unsigned offset.
ADDRESSES = (
    (0x7C000000, 0x14000000, 0x03FFFFFF),
    (0x1F000000, 0x10000000, 0x60FFFFE0),
    (0xFFC00000, 0x91000000, 0x003FFC00),
    (0x3B000000, 0x39000000, 0x003FFC00),
)


def _without_addresses(code: bytes) -> bytes:
    words = np.frombuffer(code, np.uint32).copy()
    for tells, value, address in ADDRESSES:
        words[words & tells == value] &= np.uint32(~address & 0xFFFFFFFF)
    return words.tobytes()


def disassembly(block: Block) -> list[str]:
    """A block's instructions, without comments."""
    options = ["-d", "--no-show-raw-insn", "--mattr=+dotprod,+i8mm"]
    options += [f"--start-address={block.address}", f"--stop-address={block.address + 4 * block.count}"]
    lines = re.findall(r"^ *[0-9a-f]+:\s+(.*)$", _run("llvm-objdump", *options, block.library), re.MULTILINE)
    return [re.sub(r"\s*(//|<).*", "", line) for line in lines]


def spills(block: Block) -> int:
    """Instructions of a block that move vectors to the stack or back."""
    moves = re.compile(r"(ldr|ldur|ldp|str|stur|stp)\s+q.*\[(sp|x29)")
    return sum(moves.match(line) is not None for line in disassembly(block))


def modelled_cycles(block: Block, cpu: str, iterations: int = 50) -> float:
    """Cycles of a block that runs again and again, with all memory in the L1 cache and every branch foreseen."""
    program = "\n".join(_without_jump(line) for line in disassembly(block))
    options = ["-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod,+i8mm,+lse", f"-iterations={iterations}"]
    report = _run("llvm-mca", *options, stdin=program)
    cycles = re.search(r"Total Cycles:\s+(\d+)", report)
    if cycles is None:
        raise RuntimeError(f"llvm-mca for {cpu}: expected 'Total Cycles', got {report[:200]!r}")
    return int(cycles[1]) / iterations


def _without_jump(instruction: str) -> str:
    """Jumps, and what has addresses in it, as something of the same cost."""
    if re.match(r"(b|bl|b\.\w+|cbn?z|tbn?z)\t", instruction):
        return "cmp x28, x29"
    return re.sub(r"^(blr|br|ret|bti|mrs|msr|adrp|adr|svc)\b.*", "nop", instruction)


def _run(tool: str, *arguments: str | Path, stdin: str | None = None) -> str:
    command = [f"{tool}-{LLVM}", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout
