"""Prints how many lines of each native folder have run, by what a build with NQ_COVERAGE has left:

python tests/fuzz/coverage_table.py build/coverage
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOURCES = (Path(__file__).parent.parent.parent / "custom_ops" / "src").resolve()
#: Counts of lines: by file, then by line.
Counts = dict[Path, dict[int, int]]


def reports(build: Path) -> Iterator[dict[str, Any]]:
    """gcov's report of every object that ran."""
    for data in sorted(build.rglob("*.gcda")):
        command = ["gcov", "--json-format", "--stdout", str(data.resolve())]
        yield json.loads(subprocess.run(command, capture_output=True, check=True, cwd=build).stdout)


def count_lines(build: Path) -> Counts:
    """How often each line of our sources ran, in whatever object it is: headers are in many."""
    counts: Counts = defaultdict(lambda: defaultdict(int))
    for report in reports(build):
        folder = Path(report["current_working_directory"])
        for file in report["files"]:
            path = (folder / file["file"]).resolve()
            if SOURCES not in path.parents:
                continue
            for line in file["lines"]:
                counts[path][line["line_number"]] += line["count"]
    return counts


def room_of(path: Path) -> str:
    inside = path.relative_to(SOURCES)
    return f"{inside.parts[0]}/" if len(inside.parts) > 1 else str(inside.with_suffix(""))


def main() -> None:
    counts = count_lines(Path(sys.argv[1]))
    rooms: dict[str, list[dict[int, int]]] = defaultdict(list)
    for path, lines in counts.items():
        rooms[room_of(path)].append(lines)
    print(f"{'custom_ops/src/':<16} {'lines':>7} {'run':>7} {'share':>7}")
    for room, files in sorted(rooms.items()):
        total = sum(map(len, files))
        ran = sum(count > 0 for lines in files for count in lines.values())
        print(f"{room:<16} {total:>7} {ran:>7} {100 * ran / total:>6.1f}%")
    if "--missed" in sys.argv:
        for path, lines in sorted(counts.items()):
            missed = sorted(number for number, count in lines.items() if count == 0)
            if missed:
                print(path.relative_to(SOURCES), *missed)


if __name__ == "__main__":
    main()
