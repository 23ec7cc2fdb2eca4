"""What nq_tflite may load, run and talk to; what it depends on."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dependencies
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nq_tflite as nq
from nq_tflite.device import native
from nq_tflite.errors import NativeLibraryError, UnsupportedModelError

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = Path(nq.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Modules that make code or objects of bytes.
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "code", "imp"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
NETWORK_MODULES = {"socket", "ssl", "http", "urllib", "requests", "ftplib", "asyncio", "xmlrpc", "smtplib", "telnetlib"}
#: The one module that opens URLs.
NETWORK_OWNER = PACKAGE / "delivery" / "origins.py"


def imports(tree: ast.AST) -> Iterator[str]:
    """First parts of the names of imported modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Names of called functions; of methods the last part, with a point before it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield f".{node.func.attr}", node


def faults(text: str) -> set[str]:
    """What a module's source does that no module of the package may."""
    tree = ast.parse(text)
    found = {name for name in imports(tree) if name in UNSAFE_MODULES}
    for name, call in calls(tree):
        given = {each.arg: ast.unparse(each.value) for each in call.keywords}
        found |= {name} & UNSAFE_CALLS
        found |= {each for each in ("allow_pickle", "shell") if given.get(each, "False") != "False"}
        if name == ".load_model" and (given.get("safe_mode"), given.get("compile")) != ("True", "False"):
            found.add(name)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_makes_code_of_bytes(path: Path) -> None:
    assert faults(path.read_text()) == set()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import pickle", "pickle"),
        ("def f():\n    from marshal import loads", "marshal"),
        ("x = eval('1')", "eval"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("subprocess.run('ls', shell=True)", "shell"),
        ("keras.models.load_model(path)", ".load_model"),
        ("keras.models.load_model(path, safe_mode=False, compile=False)", ".load_model"),
        ("keras.models.load_model(path, safe_mode=True)", ".load_model"),
    ],
)
def test_what_makes_code_of_bytes_is_seen(text: str, fault: str) -> None:
    assert faults(text) == {fault}


def test_one_module_opens_urls() -> None:
    assert {path for path in MODULES if NETWORK_MODULES & set(imports(ast.parse(path.read_text())))} == {NETWORK_OWNER}


# ---- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`compiled(name)`: tests/support/NAME.c as a shared library."""
    folder = tmp_path_factory.mktemp("libraries")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")

    def build(name: str) -> Path:
        library = folder / f"{name}.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, TESTS / "support" / f"{name}.c"], check=True)
        return library

    return build


def run_job(*arguments: Any, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, TESTS / "jobs" / "supply_chain_jobs.py", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300
    )


def assert_done(process: subprocess.CompletedProcess[str]) -> None:
    assert (process.returncode, process.stdout) == (0, "done\n"), process.stderr


@pytest.mark.parametrize(
    ("name", "shim"),
    [
        ("ai-edge-litert", "no_sockets"),
        ("tflite-runtime", "no_sockets"),
        # Importing tensorflow asks with a socket of its own whether there is IPv6.
        pytest.param("tensorflow", "no_connections", marks=pytest.mark.slow),
    ],
)
def test_a_device_uses_no_network(
    name: str, shim: str, runtimes: tuple[str, ...], nested_dir: Path, compiled: Any, tmp_path: Path
) -> None:
    if name not in runtimes:
        pytest.skip(f"{name} is not installed")
    file = nested_dir / "int8_8_5.tflite"
    assert_done(run_job("use", name, file, cwd=tmp_path, LD_PRELOAD=str(compiled(shim))))


def test_conversion_and_delivery_open_no_socket(compiled: Any, int8_tflite: bytes, tmp_path: Path) -> None:
    """Of a .tflite file; `receive` from a stream."""
    source = tmp_path / "source.tflite"
    source.write_bytes(int8_tflite)
    assert_done(run_job("handle", source, tmp_path, cwd=tmp_path, LD_PRELOAD=str(compiled("no_sockets"))))


@pytest.mark.slow
def test_conversion_of_keras_models_uses_no_network(compiled: Any, mixed_model: Any, tmp_path: Path) -> None:
    mixed_model.save(tmp_path / "model.keras")
    shim = str(compiled("no_connections"))
    assert_done(run_job("convert_keras", tmp_path / "model.keras", tmp_path, cwd=tmp_path, LD_PRELOAD=shim))


@pytest.mark.parametrize("shim", ["no_sockets", "no_connections"])
def test_receiving_from_a_url_does(shim: str, compiled: Any, tmp_path: Path) -> None:
    """So the tests above would see it."""
    url = "http://127.0.0.1:9/model.tflite"
    process = run_job("receive", url, tmp_path, cwd=tmp_path, LD_PRELOAD=str(compiled(shim)))
    assert (process.returncode, process.stderr) == (99, "a network was asked for\n")


DECOYS = ("libnq_tflite.so", "libLiteRtGpuAccelerator.so", "libLiteRt.so", "libtensorflowlite_c.so")


@pytest.mark.parametrize("name", ["ai-edge-litert", "tflite-runtime"])
def test_no_library_is_loaded_from_the_models_folder_or_the_working_folder(
    name: str, runtimes: tuple[str, ...], nested_dir: Path, compiled: Any, tmp_path: Path
) -> None:
    if name not in runtimes:
        pytest.skip(f"{name} is not installed")
    decoy = compiled("decoy")
    for folder in (tmp_path / "models", tmp_path / "work"):
        folder.mkdir()
        for library in DECOYS:
            shutil.copy(decoy, folder / library)
    shutil.copy(nested_dir / "int8_8_5.tflite", tmp_path / "models" / "model.tflite")
    process = run_job("use", name, "../models/model.tflite", cwd=tmp_path / "work")
    assert_done(process)
    assert "decoy" not in process.stderr
    # What the user names is loaded, and refused for its version, so that the decoy would have been seen.
    named = run_job("use", name, "../models/model.tflite", cwd=tmp_path / "work", NQ_TFLITE_LIBRARY=str(decoy))
    assert named.returncode == 1
    assert "a decoy was loaded" in named.stderr


def test_the_variable_takes_no_relative_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / native.LIBRARY_NAME).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(native.LIBRARY_VARIABLE, native.LIBRARY_NAME)
    with pytest.raises(NativeLibraryError, match=rf"{native.LIBRARY_VARIABLE}.*an absolute path"):
        native.library_path()


@pytest.mark.parametrize("form", ["model.keras", "model.h5"])
def test_code_in_a_keras_file_does_not_run(form: str, tmp_path: Path) -> None:
    import keras

    mark = tmp_path / "mark"
    image = keras.Input((4,), name="image")
    layer = keras.layers.Lambda(lambda values, path=str(mark): open(path, "w") and values)  # noqa: SIM115
    keras.Model(image, layer(image)).save(tmp_path / form)
    mark.unlink()
    with pytest.raises(UnsupportedModelError, match="safe_mode"):
        nq.convert(tmp_path / form, tmp_path / "file.tflite")
    assert not mark.exists()


# ---- dependencies ----------------------------------------------------------------------------------------------------


def test_what_the_package_needs_is_bounded() -> None:
    """NumPy alone without an extra; every runtime, whose structs the library reads, below its next major version."""
    assert [each.name for each in dependencies.own_requirements("")] == ["numpy"]
    for extra in dependencies.RUNTIME_EXTRAS:
        for requirement in dependencies.own_requirements(extra):
            operators = {each.operator for each in requirement.specifier}
            assert ">=" in operators or requirement.name == "numpy", f"{requirement} has no lower bound"
            if requirement.name in {"numpy", "keras", "tensorflow", "ai-edge-litert", "tflite-runtime"}:
                assert "<" in operators, f"{requirement} has no upper bound"


@pytest.fixture(scope="module")
def locked() -> dict[str, tuple[str, list[str]]]:
    if not dependencies.LOCK.exists():
        pytest.skip(f"no {dependencies.LOCK.name}: versions are locked for another Python or machine")
    return dependencies.locked()


def test_everything_for_development_is_locked(locked: dict[str, tuple[str, list[str]]]) -> None:
    """`make lock` renews it."""
    assert all(len(hashes) >= 1 and re.fullmatch("[0-9a-f]{64}", hashes[0]) for _, hashes in locked.values())
    for requirement in dependencies.own_requirements("dev"):
        version, _ = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is not locked at {version}"
    assert dependencies.closure(dependencies.own_requirements("dev")) <= set(locked)


def test_licences_are_listed() -> None:
    """`make lock` renews the list; versions in it are those of the lock file."""
    rows = [line.split(" | ") for line in dependencies.LIST.read_text().splitlines() if line.startswith("| ")][2:]
    listed = {row[0].removeprefix("| "): row[2] for row in rows}
    assert listed == {name: dependencies.licence(name) for name in dependencies.runtime_packages()}
    assert all(re.match(r"(MIT|BSD|Apache|PSF|MPL)", licence) for licence in listed.values())


def test_extras_of_extras_are_followed() -> None:
    names = {each.name for each in dependencies.own_requirements("convert")}
    assert {"tensorflow", "click", "ai-edge-litert", "psutil"} <= names
    assert {"markdown-it-py", "mdurl"} <= dependencies.closure([Requirement("rich")])
