"""Every fault with its observed outcome, as docs/threat_model.md shows them.

`python tests/tools/fault_table.py` prints both tables, and test_faults.py holds the page against them.
"""

from __future__ import annotations

import errno
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "jobs"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "support"))

import fault_jobs
from fault_server import FaultyProcess, build_shim
from graphs import Graph
from model_server import serving

import nq_tflite as nq

CHANNELS, PIXELS = 96, (1, 4, 4, 96)


@dataclass(frozen=True)
class Models:
    """What faults are tried on: a stock file, nested ones of three levels and of two, and parts of the first."""

    stock: Path
    nested: Path
    two_levels: Path
    base: Path
    upgrades: tuple[Path, Path]
    right: dict[int, bytes]  # what `nested` gives at each precision


def make_models(folder: Path, faulty: FaultyProcess) -> Models:
    """Five convolutions, without tensorflow."""
    graph = Graph()
    x = graph.input(PIXELS, scale=0.05, zero_point=3)
    for seed in range(5):
        x = graph.convolution(x, PIXELS, CHANNELS, seed=seed, scale=0.5, zero_point=-5)
    stock, nested, two_levels = folder / "stock.tflite", folder / "nested.tflite", folder / "two.tflite"
    stock.write_bytes(graph.build([x]))
    nq.convert(stock, nested, "8|6|4", rounding="nearest")
    nq.convert(stock, two_levels, "8|5", rounding="nearest")
    parts = nq.split(nested, folder / "parts")
    upgrades = Path(parts.upgrades[0].path), Path(parts.upgrades[1].path)
    right = faulty.run(fault_jobs.outputs, nested).value
    return Models(stock, nested, two_levels, Path(parts.base.path), upgrades, right)


# ---- a model that runs -----------------------------------------------------------------------------------------------

_NO_MEMORY, _IO, _DENIED, _AGAIN, _FAULT = errno.ENOMEM, errno.EIO, errno.EACCES, errno.EAGAIN, errno.EFAULT
_INVALID, _NO_CALL, _NO_FILES, _NOT_PERMITTED = errno.EINVAL, errno.ENOSYS, errno.EMFILE, errno.EPERM

#: What fails, while what is done: a job, its arguments between the model and what is right, and those behind.
MODEL_FAULTS: tuple[tuple[str, str, Callable[..., Any], tuple[Any, ...], tuple[Any, ...]], ...] = (
    ("`mmap` of the model: ENOMEM", "open", fault_jobs.open_under, (f"mmap,nested,1,0,{_NO_MEMORY}",), ()),
    ("`madvise`: ENOMEM", "open", fault_jobs.open_under, (f"madvise,,1,0,{_NO_MEMORY}",), ()),
    ("`madvise`: ENOMEM", "upgrade", fault_jobs.switch_under, ("part", "full", f"madvise,,1,0,{_NO_MEMORY}"), ()),
    ("`madvise`: EIO", "downgrade", fault_jobs.switch_under, ("full", "part", f"madvise,,1,0,{_IO}"), ()),
    ("second `madvise`: EIO", "downgrade", fault_jobs.switch_under, ("full", "part", f"madvise,,2,0,{_IO}"), ()),
    ("populating pages: EFAULT", "upgrade", fault_jobs.switch_under, ("part", "full", f"madvise,,3,0,{_FAULT}"), ()),
    ("populating pages: EINVAL (Linux before 5.14)", "upgrade", fault_jobs.switch_under,
     ("part", 6, f"madvise,,3,1,{_INVALID}"), ()),
    ("`/proc/self/maps`: EACCES", "open", fault_jobs.open_under, (f"open,/proc/self/maps,1,0,{_DENIED}",), ()),
    ("a descriptor of the library's own: EMFILE", "open", fault_jobs.open_under, (f"open,nested,3,0,{_NO_FILES}",), ()),
    ("`pthread_create`: EAGAIN", "open, 2 threads", fault_jobs.open_under, (f"pthread_create,,1,0,{_AGAIN}",), (2,)),
    ("`arch_prctl` (AMX): EPERM", "open", fault_jobs.open_under, (f"arch_prctl,,1,0,{_NOT_PERMITTED}",), ()),
    ("`/proc/self/pagemap`: EACCES", "ask what is resident", fault_jobs.ask_resident,
     (f"open,pagemap,1,0,{_DENIED}",), ()),
    ("... and `mincore`: ENOSYS", "ask what is resident", fault_jobs.ask_resident,
     (f"open,pagemap,1,0,{_DENIED};mincore,,1,0,{_NO_CALL}",), ()),
    ("the file is cut", "upgrade", fault_jobs.change_file, (fault_jobs.cut,), ()),
    ("the residual is overwritten", "upgrade", fault_jobs.change_file, (fault_jobs.overwrite_residual,), ()),
    ("level 0 is overwritten", "upgrade", fault_jobs.change_file, (fault_jobs.overwrite_base,), ()),
    ("another file takes the path", "upgrade", fault_jobs.change_file, (fault_jobs.replace,), ()),
)  # fmt: skip


def model_rows(faulty: FaultyProcess, models: Models) -> Iterator[tuple[str, str, str]]:
    """What fails, while what is done, and what comes of it."""
    for what, doing, job, before, after in MODEL_FAULTS:
        ended = faulty.run(job, models.nested, *before, models.right, *after)
        yield what, doing, ended.value if not ended.signal else f"KILLED BY SIGNAL {ended.signal}"


def memory_rows(faulty: FaultyProcess, models: Models, stride: int) -> Iterator[tuple[str, str, str]]:
    """The same, of every stride-th allocation of the native library (all of short loops)."""
    for act in fault_jobs.ACTS:
        for count, what in ((1, "each allocation, alone"), (0, "each allocation, and all after it")):
            step = stride if act == "opening" else 1
            ended = faulty.run(fault_jobs.without_memory, act, models.nested, models.right, step, count)
            if ended.signal:
                yield what, act, f"KILLED BY SIGNAL {ended.signal}"
            elif not ended.value.allocations:
                yield what, act, "it makes none"
            else:
                yield what, act, "; ".join(sorted(ended.value.outcomes))


# ---- commands that write ---------------------------------------------------------------------------------------------

#: Columns: what a rule of the shim does to calls on files in the folder.
FILE_FAULTS = {
    "full disk": f"write,{{}},1,0,{errno.ENOSPC};pwrite,{{}},1,0,{errno.ENOSPC};resize,{{}},1,0,{errno.ENOSPC}",
    "full disk, later": f"write,{{}},2,0,{errno.ENOSPC};pwrite,{{}},2,0,{errno.ENOSPC}",
    "EIO": f"write,{{}},1,0,{_IO};pwrite,{{}},1,0,{_IO}",
    "EIO at fsync": f"fsync,{{}},1,0,{_IO}",
    "EIO at reading": f"read,{{source}},1,0,{_IO};pread,{{source}},1,0,{_IO}",
    "EINTR": f"write,{{}},1,1,{errno.EINTR};pwrite,{{}},1,1,{errno.EINTR};fsync,{{}},1,1,{errno.EINTR};"
    f"create,{{}},1,1,{errno.EINTR}",
    "short writes": "write,{},1,0,-1;pwrite,{},1,0,-1;pread,{},1,0,-1",
    "read-only": f"create,{{}},1,0,{errno.EROFS};mkdir,{{}},1,0,{errno.EROFS}",
    "rename: EACCES": f"rename,{{}},1,0,{_DENIED}",
}
OLD = b"an old file"


@dataclass(frozen=True)
class Deed:
    """A command that writes `target`: its arguments, what stands there before, and whether more may be left behind."""

    arguments: Callable[[Models, Path, str], list[str]]
    before: Callable[[Models], bytes | None] = lambda models: OLD
    target: str = "out.tflite"
    keeps: tuple[str, ...] = ()


DEEDS = {
    "convert": Deed(
        lambda m, out, url: ["convert", str(m.stock), str(out), "--nesting", "8|5", "--rounding", "nearest"]
    ),
    "extract": Deed(lambda m, out, url: ["extract", str(m.two_levels), str(out)]),
    "split": Deed(lambda m, out, url: ["split", str(m.nested), str(out)], lambda models: None, "parts"),
    "join": Deed(lambda m, out, url: ["join", str(m.base), *map(str, m.upgrades), str(out)]),
    "join, in place": Deed(
        lambda m, out, url: ["join", str(out), *map(str, m.upgrades), str(out)], lambda models: models.base.read_bytes()
    ),
    "receive": Deed(lambda m, out, url: ["receive", url, str(out), "--retries", "0"], keeps=(".out.tflite.receiving",)),
    "storage": Deed(lambda m, out, url: ["storage", str(m.two_levels)], lambda models: None),
    "figures": Deed(lambda m, out, url: [], lambda models: None, "out.png"),
}


def run_deed(
    faulty: FaultyProcess, models: Models, name: str, rules: str, folder: Path, url: str, **kill: float
) -> tuple[Any, Path]:
    """Runs a command in a folder; gives how it ended, and its target."""
    deed = DEEDS[name]
    target = folder / deed.target
    if not target.exists() and (before := deed.before(models)) is not None:
        target.write_bytes(before)
    rules = rules.replace("{source}", str(models.stock.parent)).replace("{}", str(folder))
    if name == "figures":
        return faulty.run(fault_jobs.figure, target, rules, folder, **kill), target
    return faulty.run(fault_jobs.command, deed.arguments(models, target, url), rules, folder, **kill), target


def command_rows(
    faulty: FaultyProcess, models: Models, folder: Path, faults: tuple[str, ...] = tuple(FILE_FAULTS)
) -> Iterator[tuple[str, ...]]:
    """A command, and what comes of it under each fault."""
    with serving(models.nested.read_bytes()) as server:
        for name in DEEDS:
            cells = []
            for fault in faults:
                place = folder / f"{name} {fault}".replace(", ", "-").replace(" ", "-").replace(":", "")
                place.mkdir()
                ended, target = run_deed(faulty, models, name, FILE_FAULTS[fault], place, server.url)
                cells.append(_outcome(models, name, ended, target, place))
            yield name, *cells


def _outcome(models: Models, name: str, ended: Any, target: Path, folder: Path) -> str:
    deed = DEEDS[name]
    if ended.signal:
        return f"KILLED BY SIGNAL {ended.signal}"
    done = ended.value
    strays = {path.name for path in folder.iterdir()} - {deed.target, *deed.keeps}
    if target.is_dir():
        strays |= {path.name for path in target.iterdir() if path.name.startswith(".")}
    if strays:
        return f"LEAVES {sorted(strays)}"
    if done.exit_code == 0:
        return "succeeds" if any(done.hits) else ""
    if not done.is_clear_error:
        return f"NO CLEAR ERROR: {done.traceback or done.output}"
    before = deed.before(models)
    if before is None:
        return "error" if not target.exists() or target.is_dir() else "LEAVES A FILE"
    if name == "join, in place":
        return "error; level 0 as it was" if target.read_bytes().startswith(before) else "DAMAGED"
    return "error; old file" if target.read_bytes() == before else "DAMAGED"


# ---- the page --------------------------------------------------------------------------------------------------------


def markdown(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table."""
    lines = [head, tuple("--" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def tables(faulty: FaultyProcess, models: Models, folder: Path, stride: int) -> dict[str, str]:
    """By name, as the page has them."""
    head = ("what fails", "while", "outcome")
    return {
        "models": markdown(head, model_rows(faulty, models)),
        "memory": markdown(head, memory_rows(faulty, models, stride)),
        "commands": markdown(("", *FILE_FAULTS), command_rows(faulty, models, folder)),
    }


@contextmanager
def faulty_process(folder: Path) -> Iterator[FaultyProcess]:
    """A process with the shim, which is compiled in the folder."""
    with FaultyProcess(build_shim(folder)) as faulty:
        yield faulty


def main() -> None:
    """Prints the tables. An argument is the stride through the allocations of opening a model."""
    stride = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as name, faulty_process(Path(name)) as faulty:
        for folder in ("models", "work"):
            (Path(name) / folder).mkdir()
        models = make_models(Path(name) / "models", faulty)
        for table in tables(faulty, models, Path(name) / "work", stride).values():
            print(table, end="\n\n")


if __name__ == "__main__":
    main()
