"""`python -m nq_tflite_models.soak`: interpreters that run, switch, come and go, for long; and what leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from nq_tflite_models.measure.comparison import model_files
from nq_tflite_models.nets.zoo import MODELS
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.cli.console import NqCommand, json_option, print_json, print_lines, print_table, progress_bar
from nq_tflite.device.runtimes import RUNTIMES, installed_runtimes
from nq_tflite.measure.child_process import Job, run_in_child

#: Of the samples, from the start: caches fill and the heap finds its size meanwhile.
WARM_UP = 0.2
NUM_SAMPLES = 120
#: What the loads use: (door, threads) of each interpreter, all of one file.
INTERPRETERS = (("fused", 1), ("fused", 2), ("unpacked", 1), ("unpacked", 2))
COMPILED = (("compiled", 1), ("compiled", 2))
_EPILOG = """\b
Examples:
  python -m nq_tflite_models.soak --invocations 20000 --creations 200
  python -m nq_tflite_models.soak --model resnet50 --runtime ai-edge-litert --invocations 20000
  python -m nq_tflite_models.soak --nested mine_8_6_4.tflite --stock mine_int8.tflite --json"""


@dataclass(frozen=True)
class Trend:
    """A straight line through samples.

    Attributes:
        slope, error: per unit of work (an invocation, an interpreter), and its standard error.
        first, last: the first sample that counts, after WARM_UP, and the last.
    """

    slope: float
    error: float
    first: int
    last: int


@dataclass(frozen=True)
class Soak:
    """One load in one process.

    Attributes:
        load: "invoke" (several interpreters of one file, switched at random), "create" (one after the other) or
            "create stock" (the runtime's own, of a stock file, to compare with).
        doors: how the interpreters were opened; see INTERPRETERS.
        count: invocations, or interpreters created.
        illegal: outputs that are not, bit for bit, those of one of the model's precisions.
        seconds: of the whole load.
        trends: of resident and anonymous bytes, file descriptors and mappings.
    """

    model: str
    runtime: str
    load: str
    doors: tuple[str, ...]
    count: int
    switches: int
    illegal: int
    seconds: float
    trends: dict[str, Trend]


def soak(
    load: str,
    path: str | Path,
    runtime: str,
    count: int,
    *,
    interpreters: Sequence[tuple[str, int]] = INTERPRETERS,
    samples: int = NUM_SAMPLES,
    seed: int = 0,
) -> Soak:
    """Puts a process under one load.

    Args:
        load: as `Soak.load`.
        path: a nested file with one input and one output; a stock one for "create stock".
        runtime: name of the stock runtime.
        count: of invocations or interpreters.
        interpreters: door and threads of each; see INTERPRETERS.
        samples: of what the process holds: the more, the better the fit, and the more often everything pauses.
        seed: of the switches.

    Raises:
        NqError: the process died, or the model's precisions cannot be told from their outputs.
        FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.

    Example:
        soak("create", "model.tflite", "ai-edge-litert", 1000).trends["anonymous"].slope  # 0.0 bytes an interpreter
    """
    job = {"job": load, "path": str(path), "runtime": runtime, "count": count, "samples": samples, "seed": seed}
    answer = run_in_child(
        "nq_tflite_models.measure.soak_jobs",
        job | {"interpreters": [list(each) for each in interpreters]},
    )
    taken = answer["samples"]
    return Soak(
        model=Path(path).stem,
        runtime=runtime,
        load=load,
        doors=tuple(dict.fromkeys(door for door, _ in interpreters)),
        count=count,
        switches=answer["switches"],
        illegal=answer["illegal"],
        seconds=answer["seconds"],
        trends={name: fit_trend(taken, name) for name in ("resident", "anonymous", "descriptors", "mappings")},
    )


def fit_trend(samples: Sequence[Job], name: str) -> Trend:
    """Least squares through `samples[...][name]` over `samples[...]["done"]`, without the warm-up.

    Example:
        fit_trend([{"done": n, "anonymous": 8 * n} for n in range(10)], "anonymous").slope  # 8.0
    """
    counted = samples[int(WARM_UP * len(samples)) :]
    x, y = (np.array([each[key] for each in counted], float) for key in ("done", name))
    centred = x - x.mean()
    spread = float(centred @ centred) or 1.0
    slope = float(centred @ y) / spread
    residuals = y - y.mean() - slope * centred
    error = float(np.sqrt(residuals @ residuals / max(1, len(x) - 2) / spread))
    return Trend(slope, error, counted[0][name], counted[-1][name])


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.option(
    "--model", multiple=True, type=click.Choice(list(MODELS)), help="Of the zoo, nested 8|6|4. Repeatable. [ds_cnn_s]"
)
@click.option("--nested", type=click.Path(path_type=Path), help="A nested file instead.")
@click.option("--stock", type=click.Path(path_type=Path), help="Its stock file, for comparison.")
@click.option("--runtime", multiple=True, type=click.Choice(RUNTIMES), help="Repeatable; all by default.")
@click.option("--invocations", type=click.IntRange(0), default=2_000_000, show_default=True, help="Under each runtime.")
@click.option("--creations", type=click.IntRange(0), default=10_000, show_default=True, help="Under each runtime.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the switches.")
@json_option
def soak_command(
    model: tuple[str, ...],
    nested: Path | None,
    stock: Path | None,
    runtime: tuple[str, ...],
    invocations: int,
    creations: int,
    seed: int,
    as_json: bool,
) -> None:
    """Run interpreters that share a file while another thread switches them at random, and create and drop others.

    Every output must be, bit for bit, that of one of the precisions. Memory, file descriptors and mappings are sampled
    and fitted by a line.
    """
    with progress_bar() as progress:
        if nested is not None:
            files = [(nested, stock)]
        else:
            made = [model_files(each, cache_dir() / "nets", "8|6|4") for each in model or ("ds_cnn_s",)]
            files = [(Path(each.nested), Path(each.stock)) for each in made]
        loads = _loads(files, runtime or installed_runtimes(), invocations, creations)
        soaks = []
        for step, (load, path, name, count, interpreters) in enumerate(loads):
            progress(f"{path.stem}, {name}: {load}, {interpreters[0][0]}", step, len(loads))
            soaks.append(soak(load, path, name, count, interpreters=interpreters, seed=seed))
    if as_json:
        print_json({"soaks": [asdict(each) for each in soaks]})
    else:
        _print(soaks)
    if any(each.illegal for each in soaks):
        raise SystemExit(1)


def _loads(
    files: Sequence[tuple[Path, Path | None]], runtimes: Sequence[str], invocations: int, creations: int
) -> list[tuple[str, Path, str, int, Any]]:
    loads: list[tuple[str, Path, str, int, Any]] = []
    for nested, stock in files:
        for name in runtimes:
            loads += [
                ("invoke", nested, name, invocations, INTERPRETERS),
                ("create", nested, name, creations, INTERPRETERS),
            ]
            if name == "ai-edge-litert":
                loads.append(("create", nested, name, creations, COMPILED))
            if stock is not None:
                loads.append(("create stock", stock, name, creations, INTERPRETERS[:2]))
            if stock is not None and name == "ai-edge-litert":
                loads.append(("create stock", stock, name, creations, COMPILED))
    return [each for each in loads if each[3]]


def _print(soaks: Sequence[Soak]) -> None:
    columns = ("model", "runtime", "load", "count", "switches", "illegal outputs", "seconds")
    columns += ("resident, bytes each", "anonymous, bytes each", "descriptors", "mappings")
    rows = [
        [
            each.model,
            each.runtime,
            f"{each.load} ({', '.join(each.doors)})",
            str(each.count),
            str(each.switches),
            str(each.illegal),
            f"{each.seconds:.0f}",
            *(f"{t.slope:.4f} ± {t.error:.4f}" for t in (each.trends["resident"], each.trends["anonymous"])),
            *(f"{t.first} to {t.last}" for t in (each.trends["descriptors"], each.trends["mappings"])),
        ]
        for each in soaks
    ]
    print_table("loads, each in a process of its own", columns, rows, left=3)
    print_lines(
        "Bytes each: slope of a line through samples of resident and of anonymous memory, per invocation or",
        f"interpreter, with its standard error, after the first {WARM_UP:.0%}.",
    )


if __name__ == "__main__":
    soak_command(prog_name="python -m nq_tflite_models.soak")
