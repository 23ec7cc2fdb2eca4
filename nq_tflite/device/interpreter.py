"""`nq.Interpreter`: tf.lite.Interpreter's calls, and a precision that switches at run time."""

from __future__ import annotations

import contextlib
import enum
import inspect
import operator
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nq_tflite.device.native import library_path
from nq_tflite.device.runtimes import Runtime, RuntimeName, load_runtime
from nq_tflite.device.switching import NO_MAPPING, Closed, SwitchingModel
from nq_tflite.errors import FormatError, MissingPackageError, ModelSourceError, NqError, did_you_mean
from nq_tflite.files import check_model_bytes, check_model_file
from nq_tflite.format.nesting import Precision


class Interpreter(SwitchingModel):
    """Runs nested (and stock) .tflite models under a stock runtime.

    Every public method of tf.lite.Interpreter works as it does there. A model given by its path is mapped from the
    file, so that a downgrade releases memory. A model given as bytes can switch but not page; a warning says so.

    Args:
        model_path: a .tflite file.
        model_content: or its bytes, in any object with a buffer.
        precision: "full", "part" or a number of bits, to start with.
        runtime: "ai-edge-litert", "tflite-runtime" or "tensorflow"; the first one installed if not given.
        fuse: True computes convolutions and dense layers on the packed weights, with this library's kernels. False
            unpacks every weight for the runtime's kernels. None fuses if the CPU has a vector instruction set that the
            kernels use (AVX2, AVX-512 VNNI, NEON). Fused layers of a float model run at dynamic range, as in LiteRT by
            default: every image (or every row of a dense layer's input) is quantized to int8 at run time. With False,
            they keep float arithmetic, exactly that of the extracted model. With experimental_preserve_all_tensors,
            None does not fuse, because the runtime has no tensors for what lies between fused operators. In
            ai-edge-litert and tensorflow, not even True fuses then; `delegation` says so.
        profile: True keeps the time of every layer that the library computes, for `profile`. It adds some 60 ns to a
            layer; False adds nothing.
        num_threads, experimental_delegates, options: passed to the runtime's own Interpreter, like any other keyword.

    `close` releases the model's memory at once, and so does the end of a `with` block.

    Raises:
        FormatError: not a TFLite model, or a nested one that breaks a rule of the format.
        PrecisionError: the model has no such precision.
        ModelSourceError: neither or both of model_path and model_content were given.
        MissingPackageError, NativeLibraryError: the runtime or the native library is missing.

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
        runtime: RuntimeName | None = None,
        fuse: bool | None = None,
        profile: bool = False,
        **options: Any,
    ) -> None:
        self._runtime = load_runtime(runtime)
        super().__init__("model content" if model_path is None else str(model_path), profile)
        model_content = _plain_bytes(model_content)
        _check_model(model_path, model_content)
        num_threads = _plain_threads(num_threads)
        _check_options(self._runtime, options)
        path = None if model_path is None else os.fspath(model_path)
        if fuse is None and options.get("experimental_preserve_all_tensors"):
            fuse = False
        delegate_options = self._delegate_options(precision, fuse)
        try:
            delegate = self._runtime.load_delegate(str(library_path()), delegate_options)
            self._interpreter: Any = self._runtime.interpreter(
                model_path=path,
                model_content=model_content,
                experimental_delegates=[delegate, *(experimental_delegates or [])],
                num_threads=num_threads,
                **options,
            )
        except (ValueError, RuntimeError) as error:
            raise FormatError(
                "model content" if path is None else path,
                expected=f"a model that {self._runtime} loads",
                got=" ".join(str(error).split()),
                fix="Check it with: nq-tflite inspect.",
            ) from error
        except SystemError as error:  # how an extension fails that was built for another NumPy
            raise MissingPackageError(
                f"loading a model with {self._runtime}",
                expected="the NumPy that it was built for, below 2 for tflite-runtime",
                got=f"NumPy {np.__version__}",
                fix="Run pip install 'numpy<2', or use ai-edge-litert instead.",
            ) from error
        advice = "pass model_path instead of model_content" if path is None else NO_MAPPING
        self._loaded(precision, advice, stacklevel=2)

    @property
    def runtime(self) -> str:
        """Name and version of the stock runtime underneath."""
        return str(self._runtime)

    def close(self) -> None:
        """Releases the model's memory; every later call raises ClosedError. Do not call it during an invocation."""
        self._close_session()
        closed: Any = Closed(repr(self))
        self._interpreter = self._session = closed

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- tf.lite.Interpreter's own calls -----------------------------------------------------------------------------

    def allocate_tensors(self) -> None:
        """As tf.lite.Interpreter.allocate_tensors."""
        self._interpreter.allocate_tensors()

    def invoke(self) -> None:
        """As tf.lite.Interpreter.invoke; runs wholly at one precision."""
        self._run(self._interpreter.invoke)

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
        return _Runner(runner, self._run) if self._calls_subgraphs else runner

    def __getattr__(self, name: str) -> Any:
        """Whatever else the runtime's Interpreter has, private helpers included."""
        if name in ("_interpreter", "_session"):
            raise AttributeError(name)
        return getattr(self._interpreter, name)


def _check_model(path: object, content: object) -> None:
    """Says it plainer than the runtimes if there is not one model, or if it is none."""
    if (path is None) == (content is None):
        got = "neither" if path is None else "both"
        raise ModelSourceError("model", expected="model_path or model_content", got=got)
    if isinstance(path, bytes | bytearray) or (path is not None and not isinstance(path, str | os.PathLike)):
        raise ModelSourceError(
            "model_path", expected="a path", got=f"a {type(path).__name__}", fix="Pass bytes as model_content."
        )
    if isinstance(path, str | os.PathLike):
        check_model_file(path)
        if any("\ud800" <= letter <= "\udfff" for letter in os.fspath(path)):  # how Python has bytes that are no UTF-8
            got = ascii(os.fspath(path))
            raise ModelSourceError("model_path", expected="a path in UTF-8, which the runtimes take", got=got)
    elif isinstance(content, bytes):
        check_model_bytes("model content", content[:8], len(content))


def _plain_bytes(content: Any) -> bytes | None:
    """Bytes of anything that holds some: a bytearray, memoryview or NumPy array too."""
    if content is None or isinstance(content, bytes):
        return content
    try:
        return memoryview(content).tobytes()
    except TypeError as error:
        got = f"a {type(content).__name__}"
        fix = "Pass a path as model_path." if isinstance(content, str | os.PathLike) else ""
        raise ModelSourceError("model_content", expected="a model's bytes", got=got, fix=fix) from error


def _plain_threads(num_threads: Any) -> int | None:
    """A whole number of any library as Python's."""
    if num_threads is None:
        return None
    number = 0
    if not isinstance(num_threads, bool):
        with contextlib.suppress(TypeError):
            number = operator.index(num_threads)
    if number < 1:
        raise NqError("num_threads", expected="a whole number above 0, or None", got=repr(num_threads))
    return number


def _check_options(runtime: Runtime, options: dict[str, Any]) -> None:
    """Each runtime has options, and a type of resolvers, of its own."""
    known = inspect.signature(runtime.interpreter).parameters
    for name, value in options.items():
        if name not in known:
            theirs = ", ".join(each for each in known if each.startswith("experimental_"))
            fix = did_you_mean(name, known)
            raise NqError("option", expected=f"an option of {runtime} ({theirs})", got=repr(name), fix=fix)
        if name == "experimental_op_resolver_type" and not isinstance(value, type(known[name].default)):
            kind = f"{runtime.interpreter.__module__}.{type(known[name].default).__name__}"
            got = f"{type(value).__module__}.{value}" if isinstance(value, enum.Enum) else repr(value)
            raise NqError(
                name, expected=f"a {kind}, the type of {runtime}", got=got, fix="Or choose its runtime with runtime=."
            )


class _Runner:
    """A runtime's signature runner whose calls are invocations."""

    def __init__(self, runner: Any, run: Callable[..., Any]) -> None:
        self._runner, self._run = runner, run

    def __call__(self, **inputs: Any) -> Any:
        return self._run(self._runner, **inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)
