"""Memory pressure in a control group of its own; skipped, with the reason, where none can be made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nq_tflite_models.measure.memory_group import memory_group
from nq_tflite_models.measure.pressure_app import APPS, IDLE, NESTED
from nq_tflite_models.pressure import run_pressure, summarize

from nq_tflite.errors import NqError


@pytest.fixture(scope="module", autouse=True)
def _needs_a_group() -> None:
    try:
        with memory_group():
            pass
    except NqError as error:
        pytest.skip(str(error))


def test_a_group_limits_kills_and_goes_away() -> None:
    greedy, modest = (f"b = b'x' * ({size} << 20); print(len(b))" for size in (200, 5))
    with memory_group() as group:
        group.limit(60 << 20)
        done = [
            subprocess.run([sys.executable, "-c", code], preexec_fn=group.enter, capture_output=True, check=False)
            for code in (modest, greedy)
        ]
        assert [each.returncode for each in done] == [0, -9]
        assert group.kills == 1
        assert 5 << 20 < group.peak_bytes <= 60 << 20
        folder = group._folder
    assert not folder.exists()


def test_what_an_app_wrote_in_figures() -> None:
    survival = summarize("app", ["1.0 large", "1.1 large", "1.2 small", "3.2 small"], 3.3, 2, 7)
    assert (survival.results, survival.kills, survival.peak_bytes) == (4, 2, 7)
    assert survival.longest_gap == pytest.approx(2.0)
    assert survival.stalled == pytest.approx(2.0 / 2.3)
    assert survival.by_model == {"large": 0.5, "small": 0.5}
    assert summarize("app", [], 3.3, 2, 7).stalled == 1.0


@pytest.mark.slow
def test_every_app_under_pressure(tmp_path: Path) -> None:
    """The mechanism, on models that are too small to tell anything of memory."""
    storm, survivals = run_pressure(("ds_cnn_l", "ds_cnn_s"), rounds=1, seconds=1.5, folder=tmp_path)
    assert 0 < storm.hog_bytes < storm.limit_bytes
    assert [each.app for each in survivals] == [name for name in APPS if name != IDLE]
    assert survivals[0].app == NESTED
    assert all(each.results > 10 for each in survivals), survivals
    assert all(each.peak_bytes <= storm.limit_bytes for each in survivals), (storm, survivals)
    assert set(survivals[0].by_model) <= {"4-bit", "8-bit"}
