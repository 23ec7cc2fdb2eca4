"""`nq.receive`: a model that runs before it has fully arrived."""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nq_tflite.delivery.disk import end_of
from nq_tflite.delivery.landing import Landing
from nq_tflite.delivery.origins import (
    CHUNK_BYTES,
    Body,
    HttpOrigin,
    InterruptionError,
    Origin,
    SourceChangedError,
    StreamOrigin,
)
from nq_tflite.errors import DeliveryError
from nq_tflite.files import check_output

#: The longest pause before another connection.
MAX_PAUSE_SECONDS = 30.0


@dataclass(frozen=True)
class ArrivedLevel:
    """A level that has been written and verified.

    Attributes:
        level: counted from 0, the part-bit base.
        bits: the precision that it gives.
        file_bytes: bytes of the file up to the end of the level.
        seconds: from the start of the call; almost 0 if the level was there before.
    """

    level: int
    bits: int
    file_bytes: int
    seconds: float


@dataclass(frozen=True)
class Delivery:
    """What `receive` did.

    Attributes:
        path: the model.
        file_bytes: its size.
        levels: part-bit first.
        resumed_bytes: bytes of it that were there before the call.
        fetched_bytes: bytes that this call wrote; more than the rest of the file if some had to be fetched again.
        connections: how often the source was opened.
        seconds: duration of the call.
        left_out_bytes: bytes that follow the model at the source, if the source tells its length: packed files, say.
    """

    path: str
    file_bytes: int
    levels: tuple[ArrivedLevel, ...]
    resumed_bytes: int
    fetched_bytes: int
    connections: int
    seconds: float
    left_out_bytes: int = 0

    @property
    def part_seconds(self) -> float:
        """Until the model could run part-bit."""
        return self.levels[0].seconds

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self) | {"part_seconds": self.part_seconds}


#: Called with a level that has arrived.
OnLevel = Callable[[ArrivedLevel], None]
#: Called with why a connection failed and the seconds until the next one.
OnRetry = Callable[[str, float], None]
#: Called with the bytes of the file that are there and all of them, None while that is not known.
OnProgress = Callable[[int, int | None], None]


def receive(
    source: str | BinaryIO,
    path: str | os.PathLike[str],
    *,
    on_level: OnLevel | None = None,
    on_progress: OnProgress | None = None,
    on_retry: OnRetry | None = None,
    sha256: str | None = None,
    base_sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    pause: float = 0.5,
) -> Delivery:
    """Downloads a nested model, which runs part-bit as soon as level 0 has arrived.

    The file appears at `path`, by a rename, once the graph and level 0 have arrived and the level's checksum is right.
    It has its final size from the start, and replaces any file at `path`. From then on,
    `nq.Interpreter(path, precision="part")` runs it. The other levels are written into the same file. The interpreter
    can switch to each level once it has arrived; until then, a switch raises FormatError and keeps the precision.

    A level is valid if its checksum is right. `receive` checks that, and so does the interpreter at its first switch to
    the level. A half-written level fails the check: its last bytes are written only after the checksum of the whole
    level has been verified, and a mark takes their place until then. A verified level is never written again. If the
    source has changed, the new model goes to a new file, and an interpreter of the old file keeps the old model.

    An interrupted call, even a killed one, can be repeated. Bytes that have arrived from a URL are not fetched again
    (by a Range request, on condition that the ETag or date is the same). A server without ranges sends the whole file
    again; the bytes that are there are then compared, not written. A stream always starts at its beginning. Levels that
    are there already are reported at once.

    Args:
        source: an http or https URL, or a binary stream (anything with `read`), which is read to the model's end.
        path: the file to write. A hidden folder stays beside it until everything has arrived.
        on_level: called with each `ArrivedLevel`. Level 0 again means that another file is now at `path`.
        on_progress: called with the number of bytes that have arrived and the total (None while unknown).
        on_retry: called after a failed connection, before the pause.
        sha256: digest of the whole model, without bytes that follow it in its file. If `path` has this model already,
            nothing is fetched. If the digest is wrong in the end, the previous file is restored.
        base_sha256: digest of the file up to the end of level 0, as `nq.split` returns it. It is checked before the
            file appears. Without it, the graph is only as trustworthy as the connection; the weights have checksums.
        headers: sent only to the URL's own host, for example Authorization.
        timeout: seconds without a byte after which a connection counts as lost. Streams have their own timeout.
        retries: number of connections that may fail in a row without a new byte.
        pause: seconds before the second of them; it doubles each time.

    Returns:
        Which levels arrived, and when.

    Raises:
        DeliveryError: the source cannot be reached, lacks the file or broke off, or the disk is full. What has arrived
            is kept. `path` has the previous file, or the new model with the levels that have arrived.
        FormatError: the source is not a nested model, is truncated or is damaged. The same holds for `path`.

    Example:
        >>> nq.receive("https://example.org/model.tflite", "model.tflite")  # doctest: +SKIP
        Delivery(path='model.tflite', file_bytes=4126080, levels=(ArrivedLevel(level=0, bits=4, ...
    """
    started, target = time.monotonic(), Path(path)
    if not target.name:
        raise DeliveryError("path", expected="the name of a file", got=repr(os.fspath(path)))
    for name, digest in (("sha256", sha256), ("base_sha256", base_sha256)):
        if digest is not None and not re.fullmatch("[0-9a-fA-F]{64}", digest):
            raise DeliveryError(name, expected="64 hexadecimal digits", got=repr(digest))
    sha256, base_sha256 = sha256 and sha256.lower(), base_sha256 and base_sha256.lower()
    origin: Origin = HttpOrigin(source, headers or {}, timeout) if isinstance(source, str) else StreamOrigin(source)
    check_output(target, error_type=DeliveryError)
    with Landing(target, origin.name, base_sha256=base_sha256, may_be_withdrawn=sha256 is not None) as landing:
        if sha256 is not None and not landing.received:
            landing.adopt(sha256)
        resumed, connections = landing.received, 0
        tell = _Reports(landing, on_level, on_progress, started)
        tell()
        if not landing.whole:
            connections = _fetch(origin, landing, tell, on_retry, retries, pause)
        landing.finish(sha256)
        return Delivery(
            path=os.fspath(path),
            file_bytes=landing.received,
            levels=tuple(tell.levels),
            resumed_bytes=resumed,
            fetched_bytes=landing.fetched,
            connections=connections,
            seconds=time.monotonic() - started,
            left_out_bytes=landing.left_out_bytes,
        )


class _Reports:
    """Tells the callbacks what is new."""

    def __init__(
        self, landing: Landing, on_level: OnLevel | None, on_progress: OnProgress | None, started: float
    ) -> None:
        self.levels: list[ArrivedLevel] = []
        self._landing, self._started = landing, started
        self._on_level, self._on_progress = on_level, on_progress

    def __call__(self) -> None:
        landing = self._landing
        sections = () if landing.table is None else landing.table.sections[: landing.levels]
        if landing.levels < len(self.levels):
            self.levels.clear()  # begun anew
        for level, section in list(enumerate(sections))[len(self.levels) :]:
            self.levels.append(ArrivedLevel(level, section.bits, end_of(section), time.monotonic() - self._started))
            if self._on_level:
                self._on_level(self.levels[-1])
        if self._on_progress:
            self._on_progress(landing.received, landing.total)


def _fetch(
    origin: Origin,
    landing: Landing,
    tell: Callable[[], None],
    on_retry: OnRetry | None,
    retries: int,
    pause: float,
) -> int:
    """Opens the source until all is there; returns how often."""
    connections = failures = changes = 0
    while not landing.whole:
        fetched, connections = landing.fetched, connections + 1
        try:
            _transfer(origin, landing, tell)
        except SourceChangedError:
            changes += 1
            if changes > retries:
                raise
            landing.restart(None, None)
        except InterruptionError as error:
            failures = 1 if landing.fetched > fetched else failures + 1
            if origin.name is None or failures > retries:
                raise
            seconds = min(pause * 2 ** (failures - 1), MAX_PAUSE_SECONDS)
            if on_retry is not None:
                on_retry(" ".join(str(error).split()), seconds)
            time.sleep(seconds)
    return connections


def _transfer(origin: Origin, landing: Landing, tell: Callable[[], None]) -> None:
    """Writes what one connection gives."""
    # Nothing tells a graph of one version from that of another but the validator; a level has its checksum.
    position = landing.received if landing.validator or landing.levels else 0
    with origin.open(position, landing.validator) as body:
        _line_up(body, landing)
        while not landing.whole:
            data = body.read(CHUNK_BYTES)
            if not data:
                raise InterruptionError(
                    origin.name or "stream",
                    expected=f"{landing.total or 'more'} bytes",
                    got=f"only {landing.received}",
                    fix="The connection was lost, or the file is truncated. Call again: what has arrived is kept.",
                )
            landing.write(data)
            tell()


def _line_up(body: Body, landing: Landing) -> None:
    """Brings body and landing to the same byte of the same version."""
    changed = any(
        mine is not None and theirs is not None and mine != theirs
        for mine, theirs in ((landing.validator, body.validator), (landing.length, body.length))
    )
    if body.start == 0 and (changed or not landing.received):
        landing.restart(body.validator, body.length)
    elif changed:
        raise SourceChangedError("source", expected=f"version {landing.validator}", got=str(body.validator))
    elif body.start == 0:
        _compare(body, landing)


def _compare(body: Body, landing: Landing) -> None:
    """Reads what is there already, and makes sure that it is the same."""
    crc, left = 0, landing.received
    while left:
        data = body.read(left)
        if not data:
            raise InterruptionError("source", expected=f"{left} more bytes", got="the end", fix="Call again.")
        crc, left = zlib.crc32(data, crc), left - len(data)
    if crc != landing.crc32:
        raise SourceChangedError("source", expected="the bytes that arrived before", got="other bytes")
