"""`nq-tflite watch`: its states, its lines, its JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import check_error, run

from nq_tflite.graph.nested import read_nested


@pytest.fixture
def nested(nested_dir: Path) -> Path:
    return nested_dir / "int8_8_6_4.tflite"


@pytest.fixture
def eager(tmp_path: Path) -> Path:
    """A policy that looks often and waits for nothing, with a rule on the models' own latency."""
    path = tmp_path / "eager.toml"
    path.write_text(
        "dwell_seconds = 0\ninterval_seconds = 0.05\n"
        '[[rules]]\nsignal = "latency"\nabove = 0\nuntil = 0\nprecision = 6\n'
    )
    return path


def test_json_lines_tell_states_and_switches(nested: Path, eager: Path) -> None:
    result = run("watch", nested, "--policy", eager, "--seconds", "0.2", "--json")
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    states = [line for line in lines if line["event"] == "state"]
    [switch] = [line for line in lines if line["event"] == "switch"]
    assert (switch["from_bits"], switch["to_bits"], switch["reason"]) == (8, 6, "latency above 0")
    assert [state["models"][0]["bits"] for state in states] == [8] + [6] * (len(states) - 1)
    assert len(states) >= 3
    assert all(state["readings"]["latency"] > 0 and "memory_available" in state["readings"] for state in states)
    assert states[-1]["models"][0]["resident_bytes"] < states[0]["models"][0]["resident_bytes"]


def test_lines_for_people(nested: Path, nested_dir: Path) -> None:
    """The last model gives its bits back."""
    other = nested_dir / "int8_8_5.tflite"
    sizes = [sum(section.size for section in read_nested(path.read_bytes()).table.sections) for path in (nested, other)]
    result = run("watch", nested, other, "--policy", "manual", "--budget", sum(sizes) - 1, "--seconds", "0")
    assert result.returncode == 0, result.stderr
    assert f"{other.name}: 8 -> 5 bits" in result.stdout
    assert f"{nested.name}: 8 bits (full)" in result.stdout


def test_mistakes(nested: Path, tmp_path: Path) -> None:
    check_error(run("watch", tmp_path / "none.tflite"), "none.tflite")
    (tmp_path / "bad.toml").write_text("dwell = 3")
    policies: dict[str | Path, tuple[str, ...]] = {
        "weather": ("memory, battery", "'weather'"),
        tmp_path / "bad.toml": ("only name, rules", "got dwell"),
    }
    for policy, texts in policies.items():
        unknown = run("watch", nested, "--policy", policy)
        assert unknown.returncode == 2
        assert all(text in unknown.stderr for text in texts), unknown.stderr
