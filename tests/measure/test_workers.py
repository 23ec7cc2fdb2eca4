"""Work spread over a Dask cluster: the numbers of one process, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from labelled_pictures import write_pictures
from nq_tflite_models.accuracy import accuracy
from nq_tflite_models.labelled import labelled
from PIL import Image

from nq_tflite.cli.evaluate_command import evaluate as evaluate_command
from nq_tflite.errors import ClusterError, UnsupportedModelError
from nq_tflite.measure import workers
from nq_tflite.measure.compare import MethodComparison, compare
from nq_tflite.measure.evaluate import evaluate
from nq_tflite.measure.tasks import LevelFile, PhotoCase, Runner, level_file, round_case
from nq_tflite.measure.workers import keep, open_client, tasks_on
from nq_tflite.progress import silent

#: Its clusters are started in one of pytest's workers.
pytestmark = pytest.mark.xdist_group("workers")
PIXELS: dict[str, Any] = {"preprocess": "0..1", "crop_fraction": 1.0, "num_threads": 1}


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BATCH", 6)


@pytest.fixture(scope="module")
def threads_client() -> Iterator[Any]:
    """A cluster in this process, whose messages are bytes all the same."""
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"processes": False, "protocol": "tcp://", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, **options) as local, Client(local) as client:
        yield client


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(20):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC).save(folder / f"{index:02}.png")
    rows = "".join(f"{index:02}.png,{index % 10}\n" for index in range(20))
    (folder / "labels.csv").write_text("file,label\n" + rows)
    return folder


def without_times(found: MethodComparison) -> MethodComparison:
    return replace(found, rows=tuple(replace(row, seconds=0) for row in found.rows))


# ---- tasks -----------------------------------------------------------------------------------------------------------


def added(first: int, second: int, *, notify: Any) -> int:
    return first + second


def refused(_: object, *, notify: Any) -> None:
    raise UnsupportedModelError("model", expected="another", got="this")


def test_outcomes_feed_tasks(threads_client: Any) -> None:
    for client in (None, threads_client):
        tasks = tasks_on(client, silent)
        kept = tasks.submit("", keep, 3)
        sums = [tasks.submit("", added, kept, number) for number in range(5)]
        assert tasks.submit("", added, sums[1], sums[4]).result() == 11
        with pytest.raises(UnsupportedModelError, match=r"model: expected another, got this"):
            tasks.submit("", refused, sums[0]).result()


def test_in_one_process_a_task_runs_once_and_when_it_is_asked_for() -> None:
    stages: list[tuple[str, int, int]] = []
    seen: list[int] = []

    def task(number: int, *, notify: Any) -> int:
        notify("halfway", 1, 2)
        seen.append(number)
        return number

    tasks = tasks_on(None, lambda *stage: stages.append(stage))
    outcome = tasks.submit("counting", task, 5)
    assert seen == []
    assert (outcome.result(), outcome.result(), seen) == (5, 5, [5])
    assert stages == [("counting: halfway", 1, 2)]
    assert tasks.batches(range(300)) == [range(300)]


def test_batches_and_progress_on_a_cluster(threads_client: Any) -> None:
    stages: list[tuple[str, int, int]] = []
    tasks = tasks_on(threads_client, lambda *stage: stages.append(stage))
    assert [len(batch) for batch in tasks.batches(range(300))] == [128, 128, 44]
    assert [each.result() for each in [tasks.submit("", added, 1, k) for k in range(3)]] == [1, 2, 3]
    assert stages[0] == ("waiting for workers", 0, 0)
    assert stages[-1][0] == "tasks on 2 workers"
    assert stages[-1][2] == 3


def test_versions_must_agree(threads_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = iter(["1.0"])
    monkeypatch.setattr(workers, "_versions", lambda: {"numpy": next(own, "2.0")})
    with pytest.raises(ClusterError, match=r"worker tcp://.*: expected numpy 1\.0, got numpy 2\.0"):
        tasks_on(threads_client, silent)


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_FIRST", 0.3)
    for address in ("tcp://127.0.0.1:1", "carrier://pigeon"):
        with (
            pytest.raises(ClusterError, match=rf"scheduler {address}: expected one that answers"),
            open_client(address, None),
        ):
            pass


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=900, env=os.environ | environment
    )


def test_command_without_dask_or_with_both_options(photos: Path) -> None:
    code = "import sys; sys.modules['distributed'] = None; from nq_tflite.__main__ import main; main()"
    given = ("evaluate", photos / "labels.csv", "--photos", photos)
    done = run("-c", code, *given, "--workers", 2)
    assert done.returncode == 1
    assert "error: workers: expected the package distributed, got none installed. Install it:" in done.stderr
    assert "'.[cluster]'" in done.stderr
    options = ["--workers", "2"], ["--scheduler", "tcp://127.0.0.1:1"]
    for order in (options, options[::-1]):
        both = CliRunner().invoke(evaluate_command, [*map(str, given[1:]), *order[0], *order[1]])
        assert both.exit_code == 2
        assert "--scheduler cannot be combined with --workers." in both.stderr


# ---- measurements ----------------------------------------------------------------------------------------------------


def test_evaluation_is_that_of_one_process(
    threads_client: Any, small_batches: None, float_tflite: bytes, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "float.tflite").write_bytes(float_tflite)
    options: dict[str, Any] = {"reference": tmp_path / "float.tflite", **PIXELS, "progress": None}
    alone = evaluate(tmp_path / "float.tflite", photos, **options)
    assert evaluate(tmp_path / "float.tflite", photos, client=threads_client, **options) == alone
    samples = np.random.default_rng(2).uniform(0, 1, (20, 16, 16, 3)).astype(np.float32)
    of_samples: dict[str, Any] = {"samples": samples, "progress": None}
    alone = evaluate(tmp_path / "float.tflite", **of_samples)
    assert evaluate(tmp_path / "float.tflite", client=threads_client, **of_samples) == alone


@pytest.fixture(scope="module")
def worker_processes() -> Iterator[Any]:
    with open_client(None, 2) as client:
        yield client


@pytest.mark.slow
def test_workers_listen_on_this_machine_alone(worker_processes: Any) -> None:
    own = psutil.Process()
    connections = [each for one in (own, *own.children(recursive=True)) for each in one.net_connections("inet")]
    listening = {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    assert len(worker_processes.nthreads()) == 2


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(
    worker_processes: Any, small_batches: None, mixed_model: Any, photos: Path, tmp_path: Path
) -> None:
    """The cluster starts it again, and others do its tasks."""
    mixed_model.save(tmp_path / "model.keras")
    options: dict[str, Any] = {
        "nestings": ["8|5"],
        "methods": ["minmax", "nearest", "descent-calibrated"],
        "calibration": photos,
        "activations": "int8",
        **PIXELS,
    }
    alone = compare(tmp_path / "model.keras", photos, progress=None, **options)
    pids = list(worker_processes.run(os.getpid).values())
    assert len(set(pids)) == 2
    killed: list[int] = []

    def kill_one(stage: str, done: int, total: int) -> None:
        if done >= 8 and not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    spread = compare(tmp_path / "model.keras", photos, client=worker_processes, progress=kill_one, **options)
    assert killed
    assert without_times(spread) == without_times(alone)
    assert not set(killed) & set(worker_processes.run(os.getpid).values())
    runner = Runner("model", None, 1)
    files = []
    for client in (None, worker_processes):
        tasks = tasks_on(client, silent)
        case = tasks.submit("", keep, PhotoCase(tmp_path / "model.keras", (), runner, "float", "0..1", 1.0))
        files.append(_nested(tasks, case))
    assert files[0] == files[1]


def _nested(tasks: Any, case: Any) -> LevelFile:
    from nq_tflite.format.nesting import Nesting

    rounded = tasks.submit("", round_case, case, "descent", Nesting.parse("8|4"))
    found: LevelFile = tasks.submit("", level_file, rounded, 0).result()
    return found


@pytest.mark.slow
def test_commands_print_the_same_on_a_cluster(worker_processes: Any, mixed_model: Any, tmp_path: Path) -> None:
    mixed_model.save(tmp_path / "model.keras")
    given = ["--model", str(tmp_path / "model.keras"), "--num-calibration", "8", "--preprocess", "0..1"]
    given += ["--nesting", "8|5", "--method", "nearest", "--json"]
    labelled_inputs = [str(write_pictures(tmp_path / "inputs")), *given]
    nets = ["--nets", "conv", "--samples", "0", "--json"]
    for command, arguments in ((labelled, labelled_inputs), (accuracy, nets)):
        alone, spread = (
            CliRunner().invoke(command, [*arguments, *more])
            for more in ([], ["--scheduler", worker_processes.scheduler.address])
        )
        assert spread.exit_code == alone.exit_code == 0, spread.stderr
        assert _untimed(json.loads(spread.stdout)) == _untimed(json.loads(alone.stdout))


@pytest.mark.slow
def test_a_command_starts_workers(nested_dir: Path, photos: Path) -> None:
    command = (
        "-m",
        "nq_tflite",
        "evaluate",
        nested_dir / "int8_8_5.tflite",
        "--photos",
        photos,
        "--preprocess",
        "0..1",
    )
    alone, spread = run(*command, "--json"), run(*command, "--json", "--workers", 2)
    assert spread.returncode == alone.returncode == 0, spread.stderr
    assert json.loads(spread.stdout) == json.loads(alone.stdout)
    assert "tasks on 2 workers" in spread.stderr


def _untimed(found: Any) -> Any:
    """Without seconds, which differ from run to run."""
    if isinstance(found, dict):
        return {key: _untimed(value) for key, value in found.items() if key != "seconds"}
    return [_untimed(each) for each in found] if isinstance(found, list) else found
