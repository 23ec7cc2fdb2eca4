"""What fuzzing found stays fixed: kept inputs, run by every reader, and each finding as a case of its own.

`make fuzz` looks for more; docs/fuzzing.md says what is fuzzed.
"""

from __future__ import annotations

import struct
from pathlib import Path

import flatbuffers
import pytest
from kept import PYTHON, kept_inputs
from readers import READERS, SEEDS, written

from nq_tflite.delivery.disk import State
from nq_tflite.delivery.sections import read_section_table
from nq_tflite.errors import FormatError, PolicyError, TraceError
from nq_tflite.format.section_table import Section, SectionTable
from nq_tflite.govern.policy import Policy
from nq_tflite.govern.traces import read_trace
from nq_tflite.graph.flatbuffer import IDENTIFIER, read_model, schema
from nq_tflite.graph.nested import read_nested

DEEP = 5000  # brackets within brackets, beyond what Python's stack takes


@pytest.mark.parametrize("name", READERS)
def test_kept_inputs_raise_no_others_errors(name: str) -> None:
    inputs = kept_inputs(PYTHON / f"{name}.zip")
    assert inputs
    for each in inputs:
        READERS[name](each)


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_seeds_are_valid(path: Path) -> None:
    assert read_nested(path).weights


# ---- findings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x = " + "[" * DEEP, "dwell_seconds = 1" + "0" * 400, "dwell_seconds = nan"])
def test_policies_beyond_python(text: str) -> None:
    with pytest.raises(PolicyError):
        Policy.read(written(text.encode(), "policy.toml"))


@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP,
        '{"event": "state", "seconds": 1' + "0" * 400 + ', "readings": {}}',
    ],
)
def test_traces_beyond_python(text: str) -> None:
    with pytest.raises(TraceError):
        read_trace(written(text.encode(), "trace.jsonl"))


def test_a_trace_with_a_field_beyond_csv() -> None:
    with pytest.raises(TraceError):
        read_trace(written(b"seconds\n" + b"1" * 200_000, "trace.csv"))


def test_a_state_beyond_python() -> None:
    assert State.read(written(b"[" * 200_000, "state.json")) is None


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 16384])
def test_sections_where_no_file_reaches(offset: int) -> None:
    sections = Section(16384, 64, 0, 4), Section(offset, 16384, 0, 8)
    with pytest.raises(FormatError, match="below 2\\^63 bytes"):
        SectionTable.parse(SectionTable(sections).pack())


def test_names_that_go_on_to_the_end_are_not_read(tmp_path: Path) -> None:
    """Metadata of as many entries as fit, all with one name of all that follows: their bytes in all are quadratic."""
    entries = 20_000
    name = 64 + 4 * entries
    content = bytearray(name + 4 + 64 * entries)
    struct.pack_into("<I4s", content, 0, 16, IDENTIFIER)
    struct.pack_into("<i", content, 16, -16)  # the model's vtable stands behind it
    struct.pack_into("<HH", content, 32, 18, 8)
    struct.pack_into("<H", content, 32 + 4 + 2 * 6, 4)  # metadata, 4 bytes into the model
    struct.pack_into("<I", content, 20, 56 - 20)
    struct.pack_into("<I", content, 56, entries)
    metadata = name - 32
    struct.pack_into("<i", content, metadata, 8)
    struct.pack_into("<HHH", content, metadata - 8, 6, 8, 4)
    struct.pack_into("<I", content, metadata + 4, name - metadata - 4)
    struct.pack_into("<I", content, name, len(content) - name - 4)
    for index in range(entries - 16):
        position = 60 + 4 * index
        struct.pack_into("<I", content, position, metadata - position)
    struct.pack_into("<I", content, 56, entries - 16)
    path = tmp_path / "names.tflite"
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(FormatError, match="stock model"):
        read_section_table(file.fileno(), len(content))


def test_tables_that_stand_for_many() -> None:
    """A thousand graphs that are one, of a thousand operators that are one."""
    builder, many = flatbuffers.Builder(), 1000
    schema.OperatorStart(builder)
    operator = schema.OperatorEnd(builder)
    schema.SubGraphStartOperatorsVector(builder, many)
    for _ in range(many):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    subgraph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, many)
    for _ in range(many):
        builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), IDENTIFIER)
    with pytest.raises(FormatError, match="tables in"):
        read_model(bytes(builder.Output()))
