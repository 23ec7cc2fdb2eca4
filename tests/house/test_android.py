"""The Android library as far as a host goes: its Java on a JVM over the native library, its JNI layer, its presets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import NOT_OPTIMIZED, ROOT, exported, needed
from nq_tflite_models.nets import board_net

from nq_tflite.device.native import library_path

ANDROID = ROOT / "custom_ops" / "android"
HOST_TESTS = ROOT / "custom_ops" / "tests"
#: What the fake runtime and the nested file of the native tests need.
HOST_MODEL = ("android/host_model.cc", "fake_runtime.cc", "nested_file.cc", "naive_format.cc")
LIBRARY_SOURCES = ("format/option_block.cc", "status.cc")
CXX = (*os.environ.get("CXX", "c++").split(), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared")

pytestmark = pytest.mark.xdist_group("android")  # what is compiled is compiled once


def run(*command: object) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # cmake and ninja
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def jdk() -> Path:
    """The folder of a JDK: the compiler's, or the one that has the JNI headers too."""
    javac = shutil.which("javac")
    if javac is None:
        pytest.skip("no JDK is installed (apt install default-jdk-headless)")
    home = Path(javac).resolve().parents[1]
    if not (home / "include" / "jni.h").is_file():
        pytest.skip(f"the JDK at {home} has no JNI headers")
    return home


@pytest.fixture(scope="session")
def includes(jdk: Path) -> list[str]:
    folders = (jdk / "include", jdk / "include" / "linux", ROOT / "custom_ops" / "include", ROOT / "custom_ops" / "src")
    return [f"-I{folder}" for folder in folders] + [f"-I{HOST_TESTS}"]


@pytest.fixture(scope="session")
def classes(jdk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, the example and their tests, compiled against the stubs with every warning an error."""
    folder = tmp_path_factory.mktemp("classes")
    sources = [*ANDROID.rglob("*.java"), *HOST_TESTS.rglob("*.java")]
    run(jdk / "bin" / "javac", "--release", "11", "-Xlint:all,-options", "-Werror", "-d", folder, *sources)
    return folder


def test_what_litert_2_lacks_only_the_delegate_needs(jdk: Path, tmp_path: Path) -> None:
    """Its packages have no class Delegate: all but `interpreter/` compiles without."""
    stubs = [each for each in (HOST_TESTS / "android" / "stubs").rglob("*.java") if "tensorflow" not in each.parts]
    sources = [*(ANDROID / "java").rglob("*.java"), ANDROID / "example" / "CompiledClassifier.java", *stubs]
    run(jdk / "bin" / "javac", "--release", "11", "-Xlint:all,-options", "-Werror", "-d", tmp_path, *sources)


@pytest.fixture(scope="session")
def libraries(includes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed native library, the JNI layer over it, and the test's fake runtime."""
    folder = tmp_path_factory.mktemp("libraries")
    shutil.copy(library_path(), folder)
    link = ["-Wl,-rpath,$ORIGIN", f"-Wl,--version-script={ANDROID / 'exports.map'}", "-Wl,--no-undefined"]
    installed = folder / library_path().name
    run(*CXX, *includes, ANDROID / "nq_jni.cc", installed, *link, "-o", folder / "libnq_tflite_jni.so")
    sources = [HOST_TESTS / each for each in HOST_MODEL] + [ROOT / "custom_ops" / "src" / e for e in LIBRARY_SOURCES]
    run(*CXX, *includes, *sources, "-o", folder / "libnq_host_model.so")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("test", ["org.nqtflite.HostTest", "org.nqtflite.example.PolicyTest"])
def test_java_on_a_jvm(test: str, jdk: Path, classes: Path, libraries: Path, tmp_path: Path) -> None:
    """Checked by the JVM's own watch over JNI calls, whose warnings count."""
    options = ["-Xcheck:jni", "-ea", f"-Djava.library.path={libraries}", "-cp", classes]
    printed = run(jdk / "bin" / "java", *options, test, tmp_path)
    assert re.fullmatch(r"[1-9]\d* checks passed\n", printed), printed


def test_the_jni_layer_exports_one_symbol_and_finds_every_method(libraries: Path, includes: list[str]) -> None:
    layer = libraries / "libnq_tflite_jni.so"
    assert exported(layer) == {"JNI_OnLoad"}
    assert library_path().name in needed(layer)
    declared = re.findall(r"static native \S+ (\w+)\(", (ANDROID / "java/org/nqtflite/Native.java").read_text())
    registered = re.findall(r'^ +method\("(\w+)"', (ANDROID / "nq_jni.cc").read_text(), re.MULTILINE)
    assert declared == registered


def test_shrinkers_keep_what_native_code_names() -> None:
    named = set(re.findall(r'"org/nqtflite/(\w+)"', (ANDROID / "nq_jni.cc").read_text()))
    kept = set(re.findall(r"-keep class org\.nqtflite\.(\w+)", (ANDROID / "consumer-rules.pro").read_text()))
    assert named == kept


def test_presets_are_what_cmake_reads() -> None:
    shown = run("cmake", "-S", ANDROID, "--list-presets")
    presets = json.loads((ANDROID / "CMakePresets.json").read_text())["configurePresets"]
    abis = {preset["cacheVariables"].get("ANDROID_ABI") for preset in presets} - {None}
    assert abis == {"arm64-v8a", "armeabi-v7a", "x86_64"}
    assert all(f'"android-{abi}"' in shown for abi in abis)


def test_the_jni_layer_for_arm64(includes: list[str], tmp_path: Path) -> None:
    """With Debian's cross compiler; the library that it needs is linked when an app is built."""
    compiler = shutil.which("aarch64-linux-gnu-g++")
    if compiler is None:
        pytest.skip("apt install g++-aarch64-linux-gnu")
    page = "-Wl,-z,max-page-size=16384"
    run(compiler, *CXX[-6:], *includes, ANDROID / "nq_jni.cc", page, "-o", tmp_path / "arm64.so")
    assert "JNI_OnLoad" in exported(tmp_path / "arm64.so")


#: Argument: a nested file. LiteRT's environment loads the accelerator by its name, from the library's folder.
COMPILES = """
import sys
import numpy as np
from ai_edge_litert.environment import Environment
import nq_tflite as nq
from nq_tflite.device import compiled_model
from nq_tflite.device.native import library_path
environment = Environment.create(runtime_path=str(library_path().parent))
compiled_model._environments.add(environment)
compiled = nq.CompiledModel.from_file(sys.argv[1], environment=environment, precision="part")
inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
interpreter = nq.Interpreter(sys.argv[1], precision="part", runtime="ai-edge-litert")
interpreter.allocate_tensors()
source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
image = np.random.default_rng(0).integers(-128, 128, source["shape"]).astype(np.int8)
inputs[0].write(image)
interpreter.set_tensor(source["index"], image)
for precision in ("part", "full"):
    compiled.precision = interpreter.precision = precision
    compiled.run_by_index(0, inputs, outputs)
    interpreter.invoke()
    wanted = interpreter.get_tensor(sink["index"])
    got = outputs[0].read(wanted.size, wanted.dtype.type)
    assert got.tobytes() == wanted.tobytes()
print(compiled.levels)
"""


def test_litert_finds_the_accelerator_by_its_name(tmp_path: Path) -> None:
    """As LiteRT 2.2 does among an app's libraries; the one of that name has nothing but a need of the other."""
    library = Path(shutil.copy(library_path(), tmp_path))
    link = ["-Wl,--no-as-needed", "-Wl,-rpath,$ORIGIN"]
    named = tmp_path / "libLiteRtGpuAccelerator.so"
    run(*CXX, ANDROID / "litert_accelerator.cc", *link, library, "-o", named)
    assert library.name in needed(named)
    assert not exported(named)
    board_net.nest(board_net.mobilenet_v2(32), tmp_path / "model.tflite")
    command = [sys.executable, "-c", COMPILES, tmp_path / "model.tflite"]
    environment = os.environ | {"NQ_TFLITE_LIBRARY": str(library)}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, "(4, 8)\n"), done.stderr


@pytest.mark.slow
def test_cmake_builds_all_libraries(jdk: Path, tmp_path: Path) -> None:
    run("cmake", "-S", ANDROID, "-B", tmp_path, "-G", "Ninja", f"-DJAVA_HOME={jdk}", NOT_OPTIMIZED)
    run("cmake", "--build", tmp_path, "--target", "nq_tflite_jni", "nq_litert_accelerator")
    assert exported(tmp_path / "libnq_tflite_jni.so") == {"JNI_OnLoad"}
    assert library_path().name in needed(tmp_path / "libLiteRtGpuAccelerator.so")
