"""`nq.CompiledModel`: the calls of LiteRT's CompiledModel, and a precision that switches at run time."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nq_tflite.device.native import last_error, library_path, set_accelerator_options
from nq_tflite.device.runtimes import CompiledModels, load_compiled_models
from nq_tflite.device.switching import NO_MAPPING, SwitchingModel
from nq_tflite.errors import FormatError, NativeLibraryError, NqError
from nq_tflite.files import check_model_bytes, check_model_file
from nq_tflite.format.nesting import Precision

#: The file that LiteRT loads from an environment's runtime_path, before its own accelerator for the CPU: the native
#: library under this name has the first choice of operators.
_ACCELERATOR_NAME = "libLiteRtGpuAccelerator.so"


#: Those that have the accelerator.
_environments: weakref.WeakSet[Any] = weakref.WeakSet()
_folder: str | None = None


class CompiledModel(SwitchingModel):
    """Runs nested (and stock) .tflite models with LiteRT's CompiledModel, on the CPU.

    It needs ai-edge-litert 2.3 or newer. Create one by `from_file` or `from_buffer`. Every public method of
    ai_edge_litert.compiled_model.CompiledModel works as it does there. The outputs equal those of nq.Interpreter.

    LiteRT holds Python's global lock while it runs a model, so another Python thread can switch only between two runs.

    Example:
        >>> model = nq.CompiledModel.from_file("model.tflite", precision="part")  # doctest: +SKIP
        >>> inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)  # doctest: +SKIP
        >>> inputs[0].write(photo)  # doctest: +SKIP
        >>> model.run_by_index(0, inputs, outputs)  # doctest: +SKIP
        >>> model.precision = "full"  # doctest: +SKIP
    """

    def __init__(
        self,
        source: str | bytes,
        hardware_accel: Any,
        environment: Any,
        options: Any,
        precision: Precision,
        fuse: bool | None,
        profile: bool,
    ) -> None:
        self._litert = load_compiled_models()
        if isinstance(source, bytes):
            check_model_bytes("model content", source[:8], len(source))
        else:
            check_model_file(source)
        _check_hardware(self._litert, options.hardware_accelerators if options is not None else hardware_accel)
        if environment is None:
            environment = _create_environment(self._litert)
        _check_environment(environment)
        super().__init__("model content" if isinstance(source, bytes) else source, profile)
        # LiteRT tells XNNPACK of the number of threads, but no other delegate.
        threads = 1 if options is None else options.cpu_options.num_threads
        set_accelerator_options(self._delegate_options(precision, fuse) | {"num_threads": str(threads)})
        try:
            stock = self._litert.models.CompiledModel
            make = stock.from_buffer if isinstance(source, bytes) else stock.from_file
            self._model = make(source, hardware_accel, environment, options)
        except (RuntimeError, ValueError) as error:
            raise FormatError(
                "model content" if isinstance(source, bytes) else source,
                expected=f"a model that ai-edge-litert {self._litert.version} compiles",
                got=" ".join((last_error() or str(error)).split()),
                fix="Check it with: nq-tflite inspect.",
            ) from error
        finally:
            set_accelerator_options({})
        advice = "call from_file instead of from_buffer" if isinstance(source, bytes) else NO_MAPPING
        self._loaded(precision, advice, stacklevel=3)

    @classmethod
    def from_file(
        cls,
        model_path: str | os.PathLike[str],
        hardware_accel: Any = None,
        environment: Any = None,
        options: Any = None,
        *,
        precision: Precision = "full",
        fuse: bool | None = None,
        profile: bool = False,
    ) -> CompiledModel:
        """Maps and compiles a .tflite file.

        Args:
            model_path: a .tflite file.
            hardware_accel, options: as ai_edge_litert's CompiledModel takes them; HardwareAccelerator.CPU alone.
            environment: the `environment` of another nq.CompiledModel, to share it; a new one if not given.
            precision: "full", "part" or a number of bits, to start with.
            fuse, profile: as nq.Interpreter takes them.

        Raises:
            FormatError: not a TFLite model, or a nested one that breaks a rule of the format.
            PrecisionError: the model has no such precision.
            MissingPackageError, NativeLibraryError: the runtime or the native library is missing.
            NqError: the hardware is not the CPU.
        """
        return cls(os.fspath(model_path), hardware_accel, environment, options, precision, fuse, profile)

    @classmethod
    def from_buffer(
        cls,
        model_data: bytes,
        hardware_accel: Any = None,
        environment: Any = None,
        options: Any = None,
        *,
        precision: Precision = "full",
        fuse: bool | None = None,
        profile: bool = False,
    ) -> CompiledModel:
        """Compiles the bytes of a .tflite file, as `from_file`. A switch cannot page them, and a warning says so."""
        return cls(model_data, hardware_accel, environment, options, precision, fuse, profile)

    @property
    def runtime(self) -> str:
        """Name and version of the stock runtime underneath."""
        return f"ai-edge-litert {self._litert.version}"

    # ---- CompiledModel's own calls -----------------------------------------------------------------------------------

    def __enter__(self) -> CompiledModel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def run_by_index(self, signature_index: int, input_buffers: Sequence[Any], output_buffers: Sequence[Any]) -> None:
        """As LiteRT's run_by_index; runs wholly at one precision."""
        self._run(self._model.run_by_index, signature_index, input_buffers, output_buffers)

    def run_by_name(self, signature_key: str, input_map: dict[str, Any], output_map: dict[str, Any]) -> None:
        """As LiteRT's run_by_name; runs wholly at one precision."""
        self._run(self._model.run_by_name, signature_key, input_map, output_map)

    def __getattr__(self, name: str) -> Any:
        """Whatever else LiteRT's CompiledModel has: signatures, details, buffers, resizing, close."""
        if name in ("_model", "_session"):
            raise AttributeError(name)
        return getattr(self._model, name)


def _check_hardware(litert: CompiledModels, hardware: Any) -> None:
    cpu = litert.models.HardwareAccelerator.CPU
    if hardware not in (None, cpu):
        raise NqError(
            "hardware accelerators",
            expected=f"{cpu!r}, because the plugin computes on the CPU",
            got=repr(hardware),
            fix="Extract one precision for other hardware: nq-tflite extract.",
        )


def _check_environment(environment: Any) -> None:
    if environment not in _environments:
        raise NqError(
            "environment",
            expected="the environment of another nq.CompiledModel, with nq_tflite's accelerator",
            got=repr(environment),
            fix="Leave it out to get a new one.",
        )


def _create_environment(litert: CompiledModels) -> Any:
    """An environment whose first accelerator for the CPU is the native library."""
    try:
        environment = litert.environments.Environment.create(runtime_path=_accelerator_folder())  # loads it now
    except OSError as error:
        raise NativeLibraryError(
            "LiteRT's accelerator",
            expected="a temporary folder that allows a symbolic link to the native library",
            got=str(error),
            fix="Set TMPDIR to such a folder.",
        ) from error
    _environments.add(environment)
    return environment


def _accelerator_folder() -> str:
    """The folder that has the library by the name that LiteRT looks for: this user's alone, gone when Python ends.

    One for the process: the system's loader keeps every name that a library was ever loaded by.
    """
    global _folder
    library = library_path().resolve()
    if _folder is None or (Path(_folder) / _ACCELERATOR_NAME).resolve() != library:  # a fork that ended took it away
        folder = tempfile.mkdtemp(prefix="nq_tflite-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (Path(folder) / _ACCELERATOR_NAME).symlink_to(library)
        _folder = folder
    return _folder
