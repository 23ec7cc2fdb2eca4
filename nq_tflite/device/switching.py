"""Models whose precision switches at run time: what nq.Interpreter and nq.CompiledModel have in common."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

from nq_tflite.device.delegation import Delegation
from nq_tflite.device.native import Session
from nq_tflite.device.profile import Profile
from nq_tflite.errors import ClosedError, NotPicklableError, NqError
from nq_tflite.format.nesting import Precision, check_precision, precision_to_level
from nq_tflite.units import bytes_text, html_view, milliseconds

#: Operators that run subgraphs, maybe many times.
_CALLS = {"WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE"}


@dataclass(frozen=True)
class Switch:
    """What a switch did.

    Attributes:
        from_bits, to_bits: precision before, and from the next invocation on.
        bytes_in, bytes_out: residual bytes paged in and out; both are 0 if the model cannot page.
        seconds: duration of the call.
        deferred: an invocation was running; its residual is released when it ends.
    """

    from_bits: int
    to_bits: int
    bytes_in: int
    bytes_out: int
    seconds: float
    deferred: bool

    @property
    def bytes_moved(self) -> int:
        """Bytes paged in or out."""
        return self.bytes_in + self.bytes_out

    def __str__(self) -> str:
        verb = "paged in" if self.bytes_in else "released" if self.bytes_out else "moved"
        if self.deferred:
            verb = "to be released when the running invocation ends"
        moved = f"{bytes_text(self.bytes_moved)} {verb}"
        return f"{self.from_bits} to {self.to_bits} bits: {moved}, {milliseconds(self.seconds)}"

    def _repr_html_(self) -> str:
        return html_view([str(self)])


#: What helps a model that was given by its path and is not mapped nevertheless.
NO_MAPPING = "is /proc mounted? /proc/self/maps tells the library where the runtime has mapped the file"


class Closed:
    """In the place of what was closed."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> NoReturn:
        raise ClosedError(self._what, expected="an open model", got="one that was closed", fix="Load it again.")


class SwitchingModel(ABC):
    """A loaded model with a session of its own."""

    def __init__(self, name: str, profile: bool) -> None:
        self._name = name
        self._keeps_times = profile
        self._session = Session()
        self._precisions: tuple[int, ...] = ()
        self._close_session = weakref.finalize(self, self._session.close)

    @property
    @abstractmethod
    def runtime(self) -> str:
        """Name and version of the stock runtime underneath."""

    def __repr__(self) -> str:
        kind = f"<nq.{type(self).__name__} {self._name}"
        if not self._close_session.alive:
            return f"{kind}: closed>"
        levels = " of " + "|".join(map(str, self._precisions[::-1])) if self._precisions else ""
        bits = f"{self.precision} bits" if self._precisions else "a stock model"
        return f"{kind}: {bits}{levels}, {self.runtime}>"

    def __reduce__(self) -> NoReturn:
        """No other process can be sent a model that this one has mapped.

        Raises:
            NotPicklableError: always.
        """
        raise NotPicklableError(
            f"pickling an nq.{type(self).__name__}",
            expected="an object that can be sent to another process",
            got="a model that is loaded in this one",
            fix="Send the model's path, and load it there.",
        )

    def __copy__(self) -> NoReturn:
        """A copy would share the runtime's model, which ends with the first of the two.

        Raises:
            NotPicklableError: always.
        """
        raise NotPicklableError(
            f"copying an nq.{type(self).__name__}",
            expected="a pure Python object",
            got="a model that a runtime has loaded",
            fix="Load the model again from its path.",
        )

    def __deepcopy__(self, memo: object) -> NoReturn:
        """As __copy__."""
        self.__copy__()

    def _loaded(self, precision: Precision, advice: str, stacklevel: int) -> None:
        """The runtime has the model: checks it, and warns with `advice` if it cannot page."""
        self._session.prepare()
        self._precisions = self._session.precisions()
        if self._precisions:
            precision_to_level(precision, self._precisions)
        if self._precisions and not self.can_page:
            warnings.warn(
                "the model is not mapped from a file, so a switch changes precision but cannot page memory out: "
                + advice,
                stacklevel=stacklevel + 1,
            )

    def _delegate_options(self, precision: Precision, fuse: bool | None) -> dict[str, str]:
        """Options of the delegate, as nq.h has them.

        Raises:
            PrecisionError: no precision of any model.
            NqError: `fuse` is none of its three values, or `profile` none of its two.
        """
        check_precision(precision)
        if fuse not in (True, False, None):
            raise NqError("fuse", expected="True, False or None", got=repr(fuse))
        if self._keeps_times not in (True, False):
            raise NqError("profile", expected="True or False", got=repr(self._keeps_times))
        return {
            "session": str(self._session.handle),
            "precision": str(precision),
            "fuse": "auto" if fuse is None else str(int(fuse)),
            "profile": str(int(self._keeps_times)),
        }

    @cached_property
    def _calls_subgraphs(self) -> bool:
        return bool(self._precisions) and not _CALLS.isdisjoint(self._session.operator_names())

    def _run(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Runs the model by `call`, and tells the session of the ends that it does not see by itself.

        A context manager in its place takes a microsecond, as long as two layers of a small model.
        """
        try:
            result = call(*arguments, **named)
        except BaseException:
            with contextlib.suppress(NqError):
                self._session.invocation_ended()
            raise
        if self._calls_subgraphs:
            self._session.invocation_ended()
        return result

    @property
    def levels(self) -> tuple[int, ...]:
        """Precisions of the model in bits, part-bit first; empty for a stock model."""
        return self._precisions

    @property
    def precision(self) -> int:
        """Bits of the next invocation. Assign "full", "part" or one of `levels` to switch.

        Raises:
            PrecisionError: no such precision, or a stock model.
        """
        precision_to_level("full", self._precisions)
        return self._precisions[self._session.level()]

    @precision.setter
    def precision(self, precision: Precision) -> None:
        self.switch(precision)

    def switch(self, precision: Precision, *, drop_page_cache: bool = False) -> Switch:
        """Switches to a precision, from the next invocation on; may be called from another thread.

        Args:
            precision: "full", "part" or one of `levels`.
            drop_page_cache: on a downgrade, also ask the system to forget the file's cached pages.

        Raises:
            PrecisionError: the model has no such precision.
            FormatError: the residual's checksum is wrong (the file is damaged, or has not arrived yet).
                The model keeps the precision it had.
        """
        level = precision_to_level(precision, self._precisions)
        result = self._session.set_level(level, drop_page_cache=drop_page_cache)
        return Switch(
            from_bits=self._precisions[result.from_level],
            to_bits=self._precisions[result.to_level],
            bytes_in=result.bytes_paged_in,
            bytes_out=result.bytes_paged_out,
            seconds=result.seconds,
            deferred=bool(result.deferred),
        )

    def profile(self, precision: Precision | None = None) -> Profile:
        """The time of every layer that the library computes, in the invocations at a precision; of a model that was
        loaded with profile=True.

        Args:
            precision: "full", "part" or one of `levels`; that of the next invocation if not given.

        Raises:
            NqError: the model was loaded without profile=True.
            PrecisionError: the model has no such precision.

        Example:
            >>> interp = nq.Interpreter("model.tflite", profile=True)  # doctest: +SKIP
            >>> print(interp.profile())  # doctest: +SKIP
            3 layers at 8 bits: 29.2 µs at least, 30.1 µs in the mean
            ...
        """
        self._check_keeps_times()
        if not self._precisions:
            if precision is not None:
                precision_to_level(precision, self._precisions)
            return Profile(None, self._session.profile(0))
        level = self._session.level() if precision is None else precision_to_level(precision, self._precisions)
        return Profile(self._precisions[level], self._session.profile(level))

    def reset_profile(self) -> None:
        """Forgets the times of all precisions, such as those of invocations that warmed up.

        Raises:
            NqError: the model was loaded without profile=True.
        """
        self._check_keeps_times()
        self._session.reset_profile()

    def _check_keeps_times(self) -> None:
        if not self._keeps_times:
            got = "one that was loaded without"
            raise NqError("profile", expected="a model that keeps times", got=got, fix="Load it with profile=True.")

    def resident_bytes(self, level: int | None = None) -> int:
        """Bytes of nested weights that this process holds in memory: of one level, counted from 0, or of all."""
        chosen = range(len(self._precisions)) if level is None else [level]
        return sum(self._session.memory(each).resident for each in chosen)

    def level_bytes(self, level: int) -> int:
        """Bytes of a level in the file."""
        return self._session.size(level)

    @property
    def can_page(self) -> bool:
        """Whether a switch pages memory in and out: the model is mapped from a file."""
        return bool(self._precisions) and all(map(self._session.pageable, range(1, len(self._precisions))))

    @property
    def delegation(self) -> Delegation:
        """Which operators run fused on packed weights, in how many partitions, and why the others do not.

        Example:
            >>> interp.delegation.summary()  # doctest: +SKIP
            '49 of 52 nested weights fused, 1 partition; unpacked: 3 (several groups; one is supported)'
        """
        return self._session.delegation()
