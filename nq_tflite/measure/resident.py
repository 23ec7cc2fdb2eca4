"""Resident memory of this process by mapping, from /proc/self/smaps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from nq_tflite.errors import NqError

SMAPS = Path("/proc/self/smaps")

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(?P<path>.*)$")
_FIELD = re.compile(r"^(?P<name>Rss|Pss|Private_Dirty|Anonymous): +(?P<kilobytes>\d+) kB$")


@dataclass(frozen=True)
class ResidentMemory:
    """Resident bytes of a process, by mapping.

    Attributes:
        anonymous: pages of its own: heap, stacks, arenas, and private copies of file pages.
        model_file: pages of the model's file mapping. The system can take them back at any time.
        other_files: pages of other files: code of the runtime's libraries, above all.
        cache_file: pages of the mapping of XNNPACK's weight cache, which the system can take back too.
        private_dirty: pages that only this process has and that it has written to: `anonymous`, without pages that it
            shares with a parent or child.
        pss: of `held`, this process's share: a page that n processes or mappings hold counts for one n-th.
    """

    anonymous: int
    model_file: int
    other_files: int
    cache_file: int = 0
    private_dirty: int = 0
    pss: int = 0

    @property
    def clean_files(self) -> int:
        """Bytes of the files held for a model: its own and a weight cache's."""
        return self.model_file + self.cache_file

    @property
    def held(self) -> int:
        """Bytes held for a model: anonymous and of its files."""
        return self.anonymous + self.clean_files

    @property
    def total(self) -> int:
        """Bytes of all mappings."""
        return self.held + self.other_files

    def __sub__(self, other: ResidentMemory) -> ResidentMemory:
        return ResidentMemory(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(self)))


def resident_memory(
    model_path: str | os.PathLike[str], cache_path: str | os.PathLike[str] | None = None
) -> ResidentMemory:
    """Resident bytes of this process, from /proc/self/smaps.

    Raises:
        NqError: the system has no /proc/self/smaps.

    Example:
        >>> resident_memory("model.tflite").anonymous  # doctest: +SKIP
        31928320
    """
    try:
        with SMAPS.open() as lines:  # line by line: the text as a whole would take half a megabyte of what is measured
            cache = None if cache_path is None else os.path.realpath(cache_path)
            return parse_smaps(lines, os.path.realpath(model_path), cache)
    except OSError as error:
        raise NqError("resident memory", expected=str(SMAPS), got=str(error), fix="Measure on Linux.") from error


def parse_smaps(lines: Iterable[str], model_path: str, cache_path: str | None = None) -> ResidentMemory:
    """Sums the lines of an smaps listing.

    >>> listing = "00400000-00402000 r--p 00000000 08:02 1 /m.tflite\\nRss: 8 kB\\nPss: 4 kB\\nAnonymous: 0 kB\\n"
    >>> memory = parse_smaps(listing.splitlines(), "/m.tflite")
    >>> memory.model_file, memory.pss
    (8192, 4096)
    """
    files = {model_path: "model_file", **({} if cache_path is None else {cache_path: "cache_file"})}
    sums = {each.name: 0 for each in fields(ResidentMemory)}
    path = ""
    for line in lines:
        if mapping := _MAPPING.match(line):
            path = mapping["path"]
        elif field := _FIELD.match(line):
            size = 1024 * int(field["kilobytes"])
            file = files.get(path, "other_files")
            if field["name"] == "Rss":
                sums[file] += size
            elif field["name"] == "Private_Dirty":
                sums["private_dirty"] += size
            elif field["name"] == "Anonymous":
                sums["anonymous"] += size
                sums[file] -= size  # what is resident and not anonymous is a page of the mapped file
                sums["pss"] += size if _is_other_file(path, files) else 0
            elif not _is_other_file(path, files):
                sums["pss"] += size
    return ResidentMemory(**sums)


def _is_other_file(path: str, files: dict[str, str]) -> bool:
    """Of its pages, only private copies are held for a model."""
    return path.startswith("/") and path not in files
