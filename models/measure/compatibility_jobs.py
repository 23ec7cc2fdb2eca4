"""One cell's work: a source nested and compared with itself in the converting process, then run under one runtime."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from nq_tflite_models.measure.dynamic_range import write_dynamic_range

import nq_tflite as nq
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.levels import signal_to_noise_db

if TYPE_CHECKING:
    from nq_tflite_models.measure.rows import Row

Array = npt.NDArray[Any]
Outcome = Literal["pass", "fails", "unsupported"]
PRECISIONS = ("full", "part")
NUM_INPUTS, NUM_CALIBRATION = 3, 8
#: A float kernel may add in another order where its filter is not constant.
LEAST_UNPACKED_DB = 100.0
#: Fused layers of float models quantize their inputs, and operators that the runtime keeps differ in their last bits.
LEAST_FUSED_DB = 18.0
#: So much further off than XNNPACK's dynamic range fused layers may be.
DYNAMIC_RANGE_SLACK_DB = 3.0
#: Full-bit and the source: 8-bit weights. A full-int8 model may be so much further than tensorflow's own file.
LEAST_FULL_DB, INT8_SLACK_DB = 18.0, 3.0
#: The runtime whose full-int8 results fused layers give to the bit.
EXACT_RUNTIME = "ai-edge-litert"


@dataclass(frozen=True)
class Result:
    """What became of it; `reason` is "" where it passes."""

    outcome: Outcome
    reason: str = ""


# ---- in the converting process ---------------------------------------------------------------------------------------


def convert_source(row: Row, format_name: str, activations: str, stem: Path, nesting: str, rounding: str) -> Result:
    """Nests a source, extracts both precisions, and compares full-bit with the source.

    Writes stem.tflite, stem_full.tflite, stem_part.tflite, the inputs as stem.npz, and the stock files' outputs under
    XNNPACK as stem_xnnpack.npz, at dynamic range too for float files. Passes if full-bit's outputs are
    near the source's: 18 dB, or as near as tensorflow's own full-int8 model less 3 dB.
    """
    warnings.filterwarnings("ignore")
    source = _source(row, stem.parent)
    try:
        path = source.path(format_name)
        data = source.samples if activations == "int8" and not format_name.endswith(".tflite") else None
        nq.convert(path, f"{stem}.tflite", nesting, data, rounding=rounding, progress=None)
    except UnsupportedModelError as error:
        return Result("unsupported", str(error))
    for precision in PRECISIONS:
        nq.extract(f"{stem}.tflite", f"{stem}_{precision}.tflite", precision)
    inputs = source.inputs()
    np.savez(f"{stem}.npz", **inputs)
    stock = load_runtime("tensorflow").interpreter
    theirs = {each: _outputs(stock(f"{stem}_{each}.tflite"), inputs) for each in PRECISIONS}
    if row.file and activations == "float":
        theirs |= {f"{each}_dynamic_range": _at_dynamic_range(stem, each, inputs) for each in PRECISIONS}
    wanted, least = source.outputs(), LEAST_FULL_DB
    np.savez(f"{stem}_xnnpack.npz", **theirs, source=wanted)
    full = signal_to_noise_db(wanted, _signature_outputs(f"{stem}_full.tflite", inputs))
    if full < least and activations == "int8" and row.build:
        own = signal_to_noise_db(wanted, _signature_outputs(str(source.path("int8.tflite")), inputs))
        least = min(least, own - INT8_SLACK_DB)
    return Result("pass") if full >= least else Result("fails", f"full-bit is {full:.1f} dB from the source")


def _at_dynamic_range(stem: Path, precision: str, inputs: dict[str, Array]) -> Array:
    path = Path(f"{stem}_{precision}_dynamic_range.tflite")
    write_dynamic_range(Path(f"{stem}.tflite"), path, precision)
    return _outputs(load_runtime("tensorflow").interpreter(str(path)), inputs)


def _source(row: Row, folder: Path) -> _KerasSource | _FileSource:
    """The last one again if it is the same: a row comes with its formats one after the other."""
    if (row.name, folder) not in _LAST:
        _LAST.clear()
        _LAST[row.name, folder] = _KerasSource(row, folder) if row.build else _FileSource(row, folder)
    return _LAST[row.name, folder]


_LAST: dict[tuple[str, Path], _KerasSource | _FileSource] = {}


class _KerasSource:
    """A Keras model in every format; tensorflow's own .tflite files among them."""

    def __init__(self, row: Row, folder: Path) -> None:
        assert row.build is not None  # noqa: S101
        self._model, self._folder, self._name = row.build(), folder, row.name

    def path(self, format_name: str) -> Any:
        """What nq.convert is given."""
        from nq_tflite.conversion.sources.keras_export import export

        if format_name == "memory":
            return self._model
        path = self._folder / f"{self._name}.{format_name}"
        if path.exists():
            return path
        if format_name.endswith(".tflite"):
            path.write_bytes(export(self._model, self.samples if format_name == "int8.tflite" else None))
            return path
        try:
            if format_name == "saved_model":
                self._model.export(path, verbose=False)
            else:
                self._model.save(path)
        except (NotImplementedError, ValueError, TypeError) as error:
            raise UnsupportedModelError(f"Keras cannot save this model as {format_name}: {error}") from error
        return path

    def samples(self) -> Iterator[Any]:
        """Representative data: by input name where there are several."""
        arrays = self.inputs(NUM_CALIBRATION, seed=0)
        for k in range(NUM_CALIBRATION):
            sample = {name: array[k : k + 1] for name, array in arrays.items()}
            yield sample if len(sample) > 1 else list(sample.values())

    def inputs(self, count: int = NUM_INPUTS, seed: int = 1) -> dict[str, Array]:
        """By name."""
        from nq_tflite_models.nets.seeded import model_inputs

        from nq_tflite.conversion.sources.keras_models import input_names

        names = input_names(self._model) or ["input"]
        return dict(zip(names, model_inputs(self._model, count, seed), strict=True))

    def outputs(self) -> Array:
        """Of the Keras model, all in a row; those in a dict by name."""
        inputs = list(self.inputs().values())
        found = self._model(inputs[0] if len(inputs) == 1 else inputs, training=False)
        if isinstance(found, dict):
            found = [found[name] for name in sorted(found)]
        return _in_a_row(found if isinstance(found, list | tuple) else [found])


class _FileSource:
    """A .tflite file that somebody else made."""

    def __init__(self, row: Row, folder: Path) -> None:
        assert row.file is not None  # noqa: S101
        self._path, self._shape = folder / f"{row.name}.tflite", row.shape
        self._path.write_bytes(row.file())

    def path(self, format_name: str) -> Path:
        """The file, whatever its format is called."""
        return self._path

    def samples(self) -> Iterator[list[Array]]:
        """None: the file is quantized or it is not."""
        return iter(())

    def inputs(self) -> dict[str, Array]:
        """By name, as `_file_values` makes them."""
        rng = np.random.default_rng(1)
        interpreter = load_runtime("tensorflow").interpreter(str(self._path))
        found: dict[str, Array] = {}
        for detail in interpreter.get_input_details():
            shape = NUM_INPUTS, *(self._shape or detail["shape"])[1:]
            found[_plain(detail["name"])] = _file_values(rng, np.dtype(detail["dtype"]), shape)
        return found

    def outputs(self) -> Array:
        """Of the file as it is."""
        return _signature_outputs(str(self._path), self.inputs())


def _file_values(rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Photos of a person for float images; else random: floats in [0, 1), all of int8 and uint8, others below 10."""
    if dtype.kind == "f":
        if len(shape) == 4 and shape[3] == 3:
            from nq_tflite_models.photos import portraits

            return portraits(*shape[:3])
        return rng.random(shape).astype(dtype)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.itemsize == 1 else (0, 10)
    return rng.integers(low, high, shape).astype(dtype)


def _signature_outputs(path: str, inputs: dict[str, Array]) -> Array:
    """All outputs of a stock file in a row, in the order of the signature's names if there is one."""
    interpreter = load_runtime("tensorflow").interpreter(path)
    signatures = interpreter.get_signature_list()
    if not signatures:
        return _outputs(interpreter, inputs)
    names = next(iter(signatures.values()))["outputs"]
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    keys = list(runner.get_input_details())
    named = dict(zip(keys, inputs.values(), strict=True)) if len(keys) == 1 else inputs
    rows = [runner(**{key: value[k : k + 1] for key, value in named.items()}) for k in range(NUM_INPUTS)]
    return _in_a_row([np.concatenate([row[name] for row in rows]) for name in sorted(names)])


# ---- in a runtime's process ------------------------------------------------------------------------------------------


def check_file(runtime: str, stem: Path, activations: str, precision: str, stateful: bool = False) -> Result:
    """Runs a nested file beside the stock file of the same precision.

    Passes if unpacked weights under the runtime's builtin kernels give the stock file's outputs to the bit (floats:
    100 dB), and so do those of a runtime that reuses no tensor's memory; fused layers those of ai-edge-litert to the
    bit (full-int8, under it, where no weight is unpacked for its builtin kernels) or nearly (18 dB, or 3 dB less than
    XNNPACK's dynamic range has) the runtime's own or XNNPACK's, or are nearer to the source than the runtime's own,
    which tensorflow 2.21's INT8 kernels make necessary; and a switch to the other precision and back
    changes nothing, or one before the first invocation where a model is `stateful`.
    """
    warnings.filterwarnings("ignore")
    loaded, stock, nested = load_runtime(runtime), f"{stem}_{precision}.tflite", f"{stem}.tflite"
    with np.load(f"{stem}.npz") as arrays:
        inputs = dict(arrays)
    module = importlib.import_module(loaded.interpreter.__module__)
    builtin = {"experimental_op_resolver_type": module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    try:
        wanted_fused = _outputs(loaded.interpreter(stock), inputs)
    except (RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())
        return Result("unsupported", f"{loaded} does not run the stock file: {words}")
    try:
        wanted = _outputs(loaded.interpreter(stock, **builtin), inputs)
    except RuntimeError:  # an operator that only XNNPACK computes
        builtin, wanted = {}, wanted_fused
    unpacked = _outputs(nq.Interpreter(nested, precision=precision, runtime=runtime, fuse=False, **builtin), inputs)
    least = None if activations == "int8" else LEAST_UNPACKED_DB if builtin else LEAST_FUSED_DB
    if not _is_near(unpacked, wanted, least):
        return Result("fails", f"unpacked: {_apart(unpacked, wanted)} from the stock file under builtin kernels")
    if builtin:  # which is what keeping all tensors takes
        options: dict[str, Any] = {"experimental_preserve_all_tensors": True, **builtin}
        kept = _outputs(nq.Interpreter(nested, precision=precision, runtime=runtime, **options), inputs)
        if not _is_near(kept, unpacked, least):
            return Result("fails", f"unpacked: {_apart(unpacked, kept)} from itself where all tensors are kept")
    interpreter = nq.Interpreter(nested, precision=precision, runtime=runtime)
    fused = _outputs(interpreter, inputs)
    places = {each.place for each in interpreter.delegation.nested}
    exact = activations == "int8" and runtime == EXACT_RUNTIME and places == {"fused"}
    with np.load(f"{stem}_xnnpack.npz") as arrays:
        theirs, source = arrays[precision], arrays["source"]
        peer = arrays.get(f"{precision}_dynamic_range")
    least = None if exact else LEAST_FUSED_DB
    if least is not None and peer is not None:  # a model may bear less than that
        least = min(least, signal_to_noise_db(theirs, peer) - DYNAMIC_RANGE_SLACK_DB)
    nearer = signal_to_noise_db(source, fused) > signal_to_noise_db(source, wanted_fused)
    if not (_is_near(fused, wanted_fused, least) or (least and (nearer or _is_near(fused, theirs, least)))):
        return Result("fails", f"fused: {_apart(fused, wanted_fused)} from the stock file")
    other = PRECISIONS[1 - PRECISIONS.index(precision)]
    if stateful:
        interpreter = nq.Interpreter(nested, precision=other, runtime=runtime)
        interpreter.allocate_tensors()
    else:
        interpreter.precision = other
        _feed(interpreter, inputs)
    interpreter.precision = precision
    again = _in_a_row(_feed(interpreter, inputs))
    return Result("pass") if np.array_equal(again, fused) else Result("fails", "a switch and back changes outputs")


def _is_near(got: Array, wanted: Array, least_db: float | None) -> bool:
    """To the bit where no ratio is given."""
    return np.array_equal(got, wanted) or (least_db is not None and signal_to_noise_db(wanted, got) >= least_db)


def _apart(got: Array, wanted: Array) -> str:
    share = 100 * float(np.mean(got != wanted))
    return f"{signal_to_noise_db(wanted, got):.1f} dB ({share:.2g} % of the values differ)"


def _outputs(interpreter: Any, inputs: dict[str, Array]) -> Array:
    for source, values in _given(interpreter, inputs):
        if (1, *values.shape[1:]) != tuple(source["shape"]):  # a placeholder
            interpreter.resize_tensor_input(source["index"], (1, *values.shape[1:]))
    interpreter.allocate_tensors()
    return _in_a_row(_feed(interpreter, inputs))


def _given(interpreter: Any, inputs: dict[str, Array]) -> list[tuple[Any, Array]]:
    """Each input's details and values [inputs, ...]."""
    sources = interpreter.get_input_details()
    if len(sources) == 1:
        return [(sources[0], next(iter(inputs.values())))]
    return [(source, inputs[_plain(source["name"])]) for source in sources]


def _feed(interpreter: Any, inputs: dict[str, Array]) -> list[Array]:
    """Each output [inputs, ...], run one by one."""
    sinks = interpreter.get_output_details()
    found: list[list[Array]] = []
    for number in range(NUM_INPUTS):
        for source, values in _given(interpreter, inputs):
            interpreter.set_tensor(source["index"], values[number : number + 1].astype(source["dtype"]))
        interpreter.invoke()
        found.append([np.array(interpreter.get_tensor(sink["index"])) for sink in sinks])
    return [np.concatenate(each) for each in zip(*found, strict=True)]


def _plain(name: str) -> str:
    """Of an input, as Keras has it."""
    return name.removeprefix("serving_default_").split(":")[0]


def _in_a_row(arrays: list[Any]) -> Array:
    return np.concatenate([np.asarray(each, np.float32).ravel() for each in arrays])
