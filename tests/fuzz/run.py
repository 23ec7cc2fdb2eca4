"""Runs every fuzz target for a while, one on each CPU, and prints how often each ran:

python tests/fuzz/run.py build/fuzz/fuzz --seconds 3600 --target delegate

Ends with 1 if one of them found something; the input is kept in the folder `build/finds`. With --keep, inputs that
reach something new join the archives of those that are kept; libFuzzer's targets can tell.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kept
from nq_tflite_models.weights.archives import weight_bytes

from nq_tflite.errors import ModelSourceError

NATIVE = ("option_block", "section_table", "flatbuffer", "mapping", "hidden_levels", "weights", "delegate")
PYTHON = ("option_block", "section_table", "sections", "flatbuffer", "nested", "delivery", "state", "policy", "trace")
#: What a line of libFuzzer's, and of fuzz/driver.cc, says at the end.
EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)|Done (\d+) runs")
FINDS = kept.ROOT / "build" / "finds"
#: Sanitizers' options: TFLite's own library keeps memory to the end, and inputs that ask for much get none.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:malloc_context_size=4"}


def tflite_c(folder: Path) -> Path | None:
    """TFLite's C library, of the package that test_embedding.py runs the example under; None without it."""
    sys.path[:0] = [str(kept.ROOT / "tests" / folder) for folder in ("device", "support", "jobs", "tools")]
    from test_embedding import TFLITE_C

    if platform.machine() != "x86_64":
        return None
    try:
        content = weight_bytes(TFLITE_C)
    except ModelSourceError as error:
        print(error, file=sys.stderr)
        return None
    path = folder / "libtensorflowlite_c.so"
    path.write_bytes(content)
    return path


def commands(build: Path, seconds: float, options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each target's name and command. New inputs go to a folder of their own, kept ones are read."""
    library = tflite_c(folder)
    for name in NATIVE:
        target, archive = f"native {name}", kept.NATIVE / f"{name}.zip"
        if name == "delegate" and library is None:
            print("NOT RUN: native delegate, for want of TFLite's C library for this machine")
        elif not options.python and options.target in (None, name):
            size = ["-max_len=160", "-len_control=0"] if name in ("delegate", "weights") else ["-max_len=16384"]
            binary = str(build / f"{name}_fuzz")
            yield target, [binary, *limits(seconds, options), *size, *inputs(folder, target, archive)]
    if options.native:
        return
    if importlib.util.find_spec("atheris") is None:
        print("NOT RUN: Python readers, for want of atheris")
        return
    for name in PYTHON:
        target, archive = f"python {name}", kept.PYTHON / f"{name}.zip"
        script = [sys.executable, str(Path(__file__).parent / "fuzz_readers.py"), name]
        if options.target in (None, name):
            yield target, [*script, *limits(seconds / 3, options), "-max_len=4096", *inputs(folder, target, archive)]


def limits(seconds: float, options: argparse.Namespace) -> list[str]:
    time = ["-runs=0"] if options.replay else [f"-max_total_time={max(1, round(seconds))}"]
    return [*time, f"-seed={options.seed}", "-timeout=60", "-rss_limit_mb=2500", "-print_final_stats=1"]


def inputs(folder: Path, target: str, archive: Path) -> list[str]:
    new = folder / target.replace(" ", "_")
    old = new.with_suffix(".kept")
    new.mkdir()
    kept.unpack(archive, old)
    FINDS.mkdir(parents=True, exist_ok=True)
    return [f"-artifact_prefix={FINDS}/{new.name}-", str(new), str(old)]


def keep(command: list[str], folder: Path) -> None:
    """Adds to a native target's archive what reaches something that no kept input does."""
    binary, new, old = Path(command[0]), Path(command[-2]), Path(command[-1])
    run([command[0], "-merge=1", str(old), str(new)], folder)
    kept.pack(old, kept.NATIVE / f"{binary.name.removesuffix('_fuzz')}.zip")


def run(command: list[str], folder: Path) -> tuple[int, int, str]:
    """Exit code, executions and output."""
    environment = os.environ | ENVIRONMENT | {"NQ_TFLITE_C": str(folder / "libtensorflowlite_c.so")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    output = done.stdout + done.stderr
    counts = [int(a or b) for a, b in EXECUTED.findall(output)]
    return done.returncode, max(counts, default=0), output


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the fuzz targets.")
    parser.add_argument("build", type=Path, help="folder of the native targets")
    parser.add_argument("--seconds", type=float, default=9, help="of each native target; Python has a third")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", help="this one alone")
    parser.add_argument("--native", action="store_true", help="no Python readers")
    parser.add_argument("--python", action="store_true", help="Python readers alone")
    parser.add_argument("--keep", action="store_true", help="add native inputs that reach something new")
    parser.add_argument("--replay", action="store_true", help="the kept inputs alone")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        folder = Path(temporary)
        chosen = list(commands(options.build, options.seconds, options, folder))
        results = threads.map(lambda each: run(each[1], folder), chosen)
        for (target, command), (code, executions, output) in zip(chosen, results, strict=True):
            failed = failed or code != 0
            print(
                f"{target:<24} {executions:>12,} executions, {'clean' if code == 0 else f'FAILED ({code})'}", flush=True
            )
            if code != 0:
                print(output[-6000:])
            elif options.keep and target.startswith("native") and "INFO: Seed" in output:  # libFuzzer's own
                keep(command, folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
