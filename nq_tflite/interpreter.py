"""`nq.Interpreter`: tf.lite.Interpreter's calls, and a precision that switches at run time."""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nq_tflite.delegation import Delegation
from nq_tflite.errors import FormatError, NqError
from nq_tflite.native import Session, library_path
from nq_tflite.runtimes import load_runtime
from nq_tflite.spec import Precision, precision_to_level

#: Operators that run subgraphs, maybe many times.
_CALLS = {"WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE"}


@dataclass(frozen=True)
class Switch:
    """What a switch did.

    Attributes:
        from_bits, to_bits: precision before, and from the next invocation on.
        bytes_in, bytes_out: residual bytes paged in and out; both 0 where the model cannot page.
        seconds: time the call took.
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


class Interpreter:
    """Runs nested (and stock) .tflite models under a stock runtime.

    Every public call of tf.lite.Interpreter works as it does there. Models given by path are mapped from the file, so
    that a switch really gives memory back; models given as bytes switch too but cannot page, and say so in a warning.

    Args:
        model_path: a .tflite file.
        model_content: or its bytes.
        precision: "full", "part" or a number of bits, to start with.
        runtime: "ai-edge-litert", "tflite-runtime" or "tensorflow"; the first one installed if not given.
        fuse: True computes convolutions and dense layers on the packed weights, with this library's own kernels; False
            unpacks every weight for the runtime's kernels; None fuses where the CPU has a vector instruction set that
            the kernels use (AVX2, AVX-512 VNNI, NEON). Fused layers of a float model run at dynamic range, which is
            what LiteRT does by default too: every image (every row of a dense layer) is quantized to int8 at run time.
            With False they keep float arithmetic, exactly that of the extracted model.
        num_threads, experimental_delegates and every other keyword: handed to the runtime's own Interpreter.

    Raises:
        FormatError: not a TFLite model, or a nested one that breaks a rule of the format.
        PrecisionError: the model has no such precision.
        MissingPackageError, NativeLibraryError: nothing to run it with.

    Example:
        >>> interp = nq.Interpreter("model.tflite", precision="part", num_threads=2)  # doctest: +SKIP
        >>> interp.precision = "full"  # doctest: +SKIP
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        model_content: bytes | None = None,
        experimental_delegates: Sequence[Any] | None = None,
        num_threads: int | None = None,
        *,
        precision: Precision = "full",
        runtime: str | None = None,
        fuse: bool | None = None,
        **options: Any,
    ) -> None:
        self._runtime = load_runtime(runtime)
        self._session = Session()
        weakref.finalize(self, self._session.close)
        path = None if model_path is None else os.fspath(model_path)
        try:
            delegate = self._runtime.load_delegate(
                str(library_path()),
                {
                    "session": str(self._session.handle),
                    "precision": str(precision),
                    "fuse": "auto" if fuse is None else str(int(fuse)),
                },
            )
            self._interpreter = self._runtime.interpreter(
                model_path=path,
                model_content=model_content,
                experimental_delegates=[delegate, *(experimental_delegates or [])],
                num_threads=num_threads,
                **options,
            )
            self._session.prepare()
        except NqError:
            raise
        except (ValueError, RuntimeError) as error:
            raise FormatError(
                "model content" if path is None else path,
                expected=f"a model that {self._runtime.name} {self._runtime.version} loads",
                got=" ".join(str(error).split()),
                fix="Check it with: nq-tflite inspect.",
            ) from error
        self._precisions = self._session.precisions()
        if self._precisions:
            precision_to_level(precision, self._precisions)
        if self._precisions and not self.can_page:
            warnings.warn(
                "the model is not mapped from a file, so a switch changes precision but cannot page memory out: "
                "pass model_path instead of model_content",
                stacklevel=2,
            )

    # ---- precision ---------------------------------------------------------------------------------------------------

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

    def resident_bytes(self, level: int | None = None) -> int:
        """Bytes of nested weights that this process holds in memory: of one level, counted from 0, or of all."""
        chosen = range(len(self._precisions)) if level is None else [level]
        return sum(self._session.memory(each).resident for each in chosen)

    def level_bytes(self, level: int) -> int:
        """Bytes of a level in the file."""
        return self._session.memory(level).size

    @property
    def can_page(self) -> bool:
        """Whether a switch pages memory in and out: the model is mapped from a file."""
        return bool(self._precisions) and all(
            self._session.memory(level).pageable for level in range(1, len(self._precisions))
        )

    @property
    def runtime(self) -> str:
        """Name and version of the stock runtime underneath."""
        return f"{self._runtime.name} {self._runtime.version}"

    @property
    def delegation(self) -> Delegation:
        """Which operators run fused on packed weights, in how many partitions, and why the others do not.

        Example:
            >>> interp.delegation.summary()  # doctest: +SKIP
            '49 of 52 nested weights fused, 1 partition; unpacked: 3 (several groups; one is supported)'
        """
        return self._session.delegation()

    # ---- tf.lite.Interpreter's own calls -----------------------------------------------------------------------------

    def allocate_tensors(self) -> None:
        """As tf.lite.Interpreter.allocate_tensors."""
        self._interpreter.allocate_tensors()

    def invoke(self) -> None:
        """As tf.lite.Interpreter.invoke; runs wholly at one precision."""
        try:
            self._interpreter.invoke()
        except BaseException:
            with contextlib.suppress(NqError):
                self._session.invocation_ended()
            raise
        self._release()

    @cached_property
    def _calls_subgraphs(self) -> bool:
        return any(each.name in _CALLS for each in self._session.delegation().operators)

    def _release(self) -> None:
        """Ends an invocation whose end the session does not see by itself."""
        if self._precisions and self._calls_subgraphs:
            self._session.invocation_ended()

    def get_input_details(self) -> list[dict[str, Any]]:
        """As tf.lite.Interpreter.get_input_details."""
        return list(self._interpreter.get_input_details())

    def get_output_details(self) -> list[dict[str, Any]]:
        """As tf.lite.Interpreter.get_output_details."""
        return list(self._interpreter.get_output_details())

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """As tf.lite.Interpreter.get_tensor_details."""
        return list(self._interpreter.get_tensor_details())

    def set_tensor(self, tensor_index: int, value: Any) -> None:
        """As tf.lite.Interpreter.set_tensor."""
        self._interpreter.set_tensor(tensor_index, value)

    def get_tensor(self, tensor_index: int, subgraph_index: int = 0) -> Any:
        """As tf.lite.Interpreter.get_tensor."""
        return self._interpreter.get_tensor(tensor_index, subgraph_index)

    def tensor(self, tensor_index: int) -> Callable[[], Any]:
        """As tf.lite.Interpreter.tensor."""
        view: Callable[[], Any] = self._interpreter.tensor(tensor_index)
        return view

    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int], strict: bool = False) -> None:
        """As tf.lite.Interpreter.resize_tensor_input."""
        self._interpreter.resize_tensor_input(input_index, tensor_size, strict=strict)

    def reset_all_variables(self) -> None:
        """As tf.lite.Interpreter.reset_all_variables."""
        self._interpreter.reset_all_variables()

    def get_signature_list(self) -> dict[str, Any]:
        """As tf.lite.Interpreter.get_signature_list."""
        return dict(self._interpreter.get_signature_list())

    def get_signature_runner(self, signature_key: str | None = None) -> Any:
        """As tf.lite.Interpreter.get_signature_runner."""
        runner = self._interpreter.get_signature_runner(signature_key)
        return _Runner(runner, self._release) if self._precisions and self._calls_subgraphs else runner

    def __getattr__(self, name: str) -> Any:
        """Whatever else the runtime's Interpreter has, private helpers included."""
        if name in ("_interpreter", "_session"):
            raise AttributeError(name)
        return getattr(self._interpreter, name)


class _Runner:
    """A runtime's signature runner that says when an invocation has ended."""

    def __init__(self, runner: Any, ended: Callable[[], None]) -> None:
        self._runner, self._ended = runner, ended

    def __call__(self, **inputs: Any) -> Any:
        try:
            return self._runner(**inputs)
        finally:
            self._ended()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)
