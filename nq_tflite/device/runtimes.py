"""The stock TFLite runtimes: which are installed, and how to get at their Interpreter."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from typing import Any, Literal

from nq_tflite.errors import MissingPackageError, did_you_mean, how_to_install

#: The runtimes, as pip knows them.
RuntimeName = Literal["ai-edge-litert", "tflite-runtime", "tensorflow"]
#: In order of preference, with the module that has their Interpreter.
_MODULES: dict[RuntimeName, str] = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow",
}
RUNTIMES = tuple(_MODULES)


@dataclass(frozen=True)
class Runtime:
    """A stock runtime, loaded: its name and version, its Interpreter class and its load_delegate."""

    name: RuntimeName
    version: str
    interpreter: Any
    load_delegate: Any

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def installed_runtimes() -> tuple[RuntimeName, ...]:
    """Names of the runtimes that are installed, the preferred one first."""
    return tuple(filter(_is_installed, RUNTIMES))


def _package(name: RuntimeName) -> str:
    return _MODULES[name].partition(".")[0]


def _is_installed(name: RuntimeName) -> bool:
    return importlib.util.find_spec(_package(name)) is not None


def _version(name: RuntimeName) -> str:
    """The package's own word: asking its metadata for it takes a first start 15 ms and every later one one."""
    found = getattr(sys.modules[_package(name)], "__version__", None)
    if found is None:
        from importlib.metadata import version

        found = version(name)
    return str(found)


def load_runtime(name: RuntimeName | None = None) -> Runtime:
    """Imports a runtime.

    Args:
        name: "ai-edge-litert", "tflite-runtime" or "tensorflow"; None for the first that is installed.

    Raises:
        MissingPackageError: it is not installed, none is, or there is none of that name.
    """
    if name is not None and name not in _MODULES:
        raise MissingPackageError(
            "TFLite runtime",
            expected=f"one of {', '.join(RUNTIMES)}",
            got=repr(name),
            fix=did_you_mean(name, RUNTIMES),
        )
    chosen = name or next((each for each in RUNTIMES if _is_installed(each)), None)
    if chosen is None or not _is_installed(chosen):
        raise MissingPackageError(
            "TFLite runtime",
            expected=chosen or f"one of {', '.join(RUNTIMES)}",
            got=f"{', '.join(installed_runtimes()) or 'none'} installed",
            fix=f"Install one, for example: {how_to_install('litert')}.",
        )
    module = importlib.import_module(_MODULES[chosen])
    if chosen == "tensorflow":
        interpreter, load_delegate = module.lite.Interpreter, module.lite.experimental.load_delegate
    else:
        interpreter, load_delegate = module.Interpreter, module.load_delegate
    return Runtime(chosen, _version(chosen), interpreter, load_delegate)


def walking_runtime_name() -> RuntimeName:
    """What conversions compute by: reading .tflite files loads one of these two, and tflite-runtime bears neither."""
    return "ai-edge-litert" if "ai-edge-litert" in installed_runtimes() else "tensorflow"


def walking_runtime() -> Runtime:
    """The runtime of that name, loaded."""
    return load_runtime(walking_runtime_name())


@dataclass(frozen=True)
class CompiledModels:
    """What ai-edge-litert has for its CompiledModel: its version and its modules of that and of environments."""

    version: str
    models: Any
    environments: Any


def load_compiled_models() -> CompiledModels:
    """Imports ai-edge-litert's CompiledModel.

    Raises:
        MissingPackageError: ai-edge-litert is not installed, or its version has none that takes an environment.
    """
    runtime = load_runtime("ai-edge-litert")
    try:
        models = importlib.import_module("ai_edge_litert.compiled_model")
        environments = importlib.import_module("ai_edge_litert.environment")
    except ImportError as error:
        raise MissingPackageError(
            "CompiledModel",
            expected="ai-edge-litert 2.3 or newer",
            got=f"{runtime.version}: {error}",
            fix="pip install --upgrade ai-edge-litert, or use nq.Interpreter.",
        ) from error
    return CompiledModels(runtime.version, models, environments)
