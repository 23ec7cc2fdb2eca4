"""Every page of the documentation: its code runs, its commands exist, its links lead somewhere, and the site builds."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from distributions import EXPORTS
from pages import PAGES, ROOT, Block, anchors, blocks, links, name_of, prose

import nq_tflite as nq
from nq_tflite.cli import nq_tflite as command_line

DOCS = ROOT / "docs"
MODELS = DOCS / "models.md"

#: Blocks that no test runs as they stand, and why.
NOT_RUN = {
    "board": "needs the board, a display that stays, or another computer",
    "hub": "needs KerasHub, which no extra has",
    "install": "installs packages; distributions are tested by tests/house/test_distributions.py and test-arm",
    "jax": "needs JAX: make test-recipes runs it",
    "minutes": "takes minutes, or the repository's own make",
    "native": "builds the native library once more; tests/device/test_embedding.py does it",
    "ndk": "needs Android's NDK",
    "network": "fetches what the tests cannot",
    "root": "needs a memory control group",
    "text": "needs a tokenizer's file and the extra text; tests/models/test_similarity.py does it",
    "torch": "needs PyTorch: make test-recipes runs it",
}
MARKED = {
    ("README.md", "sh minutes"): 1,
    ("custom_ops/android/README.md", "sh ndk"): 1,
    ("docs/accuracy.md", "sh minutes"): 3,
    ("docs/benchmarks.md", "sh minutes"): 16,
    ("docs/benchmarks.md", "sh root"): 1,
    ("docs/c_and_cpp.md", "sh native"): 1,
    ("docs/choosing_levels.md", "sh minutes"): 1,
    ("docs/delivery.md", "sh network"): 1,
    ("docs/fuzzing.md", "sh minutes"): 1,
    ("docs/governor.md", "sh board"): 1,
    ("docs/language_model.md", "python hub"): 1,
    ("docs/language_model.md", "sh minutes"): 3,
    ("docs/paper.md", "sh minutes"): 1,
    ("docs/photos.md", "sh minutes"): 1,
    ("docs/models.md", "python jax"): 1,
    ("docs/models.md", "python torch"): 1,
    ("docs/models.md", "sh minutes"): 1,
    ("docs/installation.md", "sh install"): 2,
    ("docs/other_inputs.md", "sh minutes"): 1,
    ("docs/quickstart.md", "sh install"): 1,
    ("docs/raspberry_pi.md", "sh board"): 5,
    ("docs/raspberry_pi.md", "sh install"): 1,
    ("docs/sme.md", "sh minutes"): 1,
    ("docs/text_encoders.md", "python hub"): 1,
    ("docs/text_encoders.md", "python text"): 1,
    ("docs/text_encoders.md", "sh minutes"): 1,
    ("models/README.md", "python network"): 1,
    ("models/README.md", "sh minutes"): 6,
    ("notebooks/README.md", "sh install"): 1,
}
#: Languages that are not run, and what stands for it.
OTHER_LANGUAGES = {
    "bibtex": "a citation",
    "cmake": "tests/device/test_embedding.py finds the package with the same lines",
    "groovy": "no Gradle here",
    "json": "tests/models/test_board.py reads the board kit's line",
    "text": "tests/measure/test_preprocessing.py reads such a csv",
    "java": "tests/house/test_android.py compiles and runs the library, and the example like it",
}
#: Pages that convert a model: a few seconds each.
SLOW = {
    f"docs/{name}.md"
    for name in [
        "accuracy",
        "choosing_levels",
        "index",
        "models",
        "other_inputs",
        "quickstart",
        "report",
        "text_encoders",
    ]
}
#: Sites that pages link to; nothing is fetched.
SITES = {"arxiv.org", "github.com", "keepachangelog.com", "llvm.org", "pypi.org", "semver.org"}


def pages_with(language: str) -> list[Any]:
    """Pages that have such blocks to run, as parameters of a test; test_readme.py runs the README's."""
    found = [page for page in PAGES if any(each.language == language and not each.mark for each in blocks(page))]
    return [_parameter(page) for page in found if page != ROOT / "README.md"]


def _parameter(page: Path) -> Any:
    return pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if name_of(page) in SLOW else [])


all_pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_what_is_not_run_is_listed() -> None:
    marked = [each for page in PAGES for each in blocks(page) if each.mark]
    assert Counter((name_of(each.page), f"{each.language} {each.mark}") for each in marked) == MARKED
    assert {each.mark for each in marked} == set(NOT_RUN)
    languages = {each.language for page in PAGES for each in blocks(page)}
    assert languages == {"python", "sh", "c", "toml", *OTHER_LANGUAGES}


# ---- Python ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(nested_dir: Path, int8_tflite: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that pages speak of."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(nested_dir / "int8_8_5.tflite", "model.tflite")
    shutil.copy(nested_dir / "int8_8_6_4.tflite", "three.tflite")
    Path("stock.tflite").write_bytes(int8_tflite)
    return tmp_path


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_runs(page: Path, desk: Path, mixed_model: Any, samples: np.ndarray) -> None:
    """All blocks of a page, one after the other."""
    code = "\n".join(each.text for each in blocks(page) if each.language == "python" and not each.mark)
    if "model.keras" in code:
        mixed_model.save("model.keras")
    exec(compile(code, name_of(page), "exec"), {"samples": samples})


def test_recipes_write_their_models(tmp_path: Path) -> None:
    written = re.findall(r'nq\.convert\(.*, "(\w+\.tflite)"', "\n".join(each.text for each in blocks(MODELS)))
    assert written == ["doubled.tflite", "several.tflite", "loop.tflite", "unrolled.tflite"]


def run_in_own_environment(mark: str, packages: list[str], folder: Path) -> None:
    """Runs a recipe in a virtual environment of its packages, which want another NumPy than tflite-runtime."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=120)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, timeout=900)
    [recipe] = [each.text for each in blocks(MODELS) if each.mark == mark]
    (folder / "recipe.py").write_text(recipe)
    subprocess.run([python, "recipe.py"], cwd=folder, check=True, timeout=300)


@pytest.mark.recipe
def test_jax_recipe(tmp_path: Path) -> None:
    run_in_own_environment("jax", ["tensorflow>=2.16", "jax", "jaxlib"], tmp_path)
    samples = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype(np.float32)
    for data in (None, samples):
        report = nq.convert(tmp_path / "jax_saved", tmp_path / "model.tflite", representative_data=data)
        assert "CONV_2D" in {weight.operator for weight in report.weights}


@pytest.mark.recipe
def test_torch_recipe(tmp_path: Path) -> None:
    run_in_own_environment("torch", ["torch==2.13.0", "litert-torch"], tmp_path)
    report = nq.convert(tmp_path / "torch.tflite", tmp_path / "model.tflite")
    assert [weight.operator for weight in report.weights] == ["CONV_2D", "CONV_2D", "FULLY_CONNECTED"]


# ---- commands --------------------------------------------------------------------------------------------------------


def parse(words: list[str]) -> None:
    """Reads a command's arguments as it would itself, and goes no further."""
    if words[0].endswith("nq-tflite"):
        command_line.commands[words[1]].make_context(words[1], words[2:])
    elif words[:2] == ["python", "-m"] and words[2].startswith("nq_tflite_models."):
        module = importlib.import_module(words[2])
        for command in {each for each in vars(module).values() if isinstance(each, click.Command)}:
            command.make_context(words[2], words[3:])
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif words[0].endswith("python"):
        assert (ROOT / words[1]).is_file(), words


@all_pages
def test_commands_are_those_that_exist(page: Path) -> None:
    inline = [
        Block(page, "sh", "", code) for code in re.findall(r"`((?:nq-tflite|make|python -m) [^`]*)`", prose(page))
    ]
    for block in [*(each for each in blocks(page) if each.language == "sh"), *inline]:
        for words in block.commands:
            if block in inline and words[0] == "nq-tflite":  # its arguments may be left out
                options = {"--help"} | {name for each in command_line.commands[words[1]].params for name in each.opts}
                assert {each for each in words if each.startswith("-")} <= options, f"{name_of(page)}: {words}"
            elif block not in inline or words[0] == "make":
                parse(words)
            else:
                assert importlib.util.find_spec(words[2]), f"{name_of(page)} names {words[2]}"


def test_a_wrong_command_is_seen() -> None:
    with pytest.raises(click.exceptions.Exit):
        parse(["nq-tflite", "convert", "model.keras", "model.tflite", "--nestling", "8|5"])
    with pytest.raises(KeyError):
        parse(["nq-tflite", "conjure"])


@pytest.fixture(scope="module")
def bench(made_once: Any) -> Path:
    """A folder with a model of photos' size, its files, and photos."""
    return made_once("bench", write_bench)


def write_bench(folder: Path) -> None:
    import keras
    from nq_tflite_models.photos import write_demo_photos

    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export

    image = keras.Input((224, 224, 3), name="image")
    x = keras.layers.Conv2D(64, 8, strides=8, activation="relu")(image)
    x = keras.layers.Conv2D(128, 3, strides=2, activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(1000)(keras.layers.GlobalAveragePooling2D()(x)))
    model.save(folder / "model.keras")
    stock = export(model, sample_source(np.random.default_rng(0).normal(size=(4, 224, 224, 3)).astype(np.float32)))
    for name in ("stock.tflite", "int8.tflite"):
        (folder / name).write_bytes(stock)
    (folder / "float.tflite").write_bytes(export(model, None))
    nq.convert(stock, folder / "model.tflite", "8|5", rounding="nearest")
    (folder / "photos").mkdir()
    write_demo_photos(folder / "photos")


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(each.values[0], id=each.id) for each in pages_with("sh")])
def test_shell_runs(page: Path, bench: Path, tmp_path: Path) -> None:
    """All blocks of a page, one after the other, in one folder."""
    folder = tmp_path / "bench"
    shutil.copytree(bench, folder)
    script = "\n".join(each.text for each in blocks(page) if each.language == "sh" and not each.mark)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-euc", script], cwd=folder, env=os.environ | {"PATH": path}, check=True, timeout=300)


# ---- other languages -------------------------------------------------------------------------------------------------


def test_c_compiles(tmp_path: Path) -> None:
    for number, block in enumerate(each for page in PAGES for each in blocks(page) if each.language == "c"):
        source = tmp_path / f"{number}.c"
        source.write_text(block.text)
        flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT / 'custom_ops' / 'include'}"]
        subprocess.run(["cc", *flags, source], check=True, timeout=60)


def test_policies_are_read(tmp_path: Path) -> None:
    for block in (each for page in PAGES for each in blocks(page) if each.language == "toml"):
        (tmp_path / "policy.toml").write_text(block.text)
        assert nq.Policy.read(tmp_path / "policy.toml").rules


# ---- prose ----------------------------------------------------------------------------------------------------------


@all_pages
def test_prose_fits_a_hundred_columns(page: Path) -> None:
    """Tables are as wide as they must be; code, links and tags cannot be broken."""
    for line in prose(page).splitlines():
        breakable = re.sub(r"`[^`]*`|\]\([^)]*\)|!?\[[^]]*\]|<[^>]*>", "", line)
        assert line.startswith("|") or len(breakable) <= 100, f"{name_of(page)}: {line}"


# ---- links -----------------------------------------------------------------------------------------------------------


@all_pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http:", "https:")):
            assert link.split("/")[2] in SITES, f"{name_of(page)} links to {link}: a new site?"
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)} links to {link}: {sorted(anchors(target))}"


def test_pages_outside_the_docs_have_a_page_there() -> None:
    """A page of one line, which the site's builder fills."""
    mirrored = re.findall(r"^% mirror: (.*)$", "\n".join(page.read_text() for page in PAGES), re.MULTILINE)
    outside = [page for page in PAGES if DOCS not in page.parents and page.name != "README.md"]
    assert {page.name for page in outside} <= {Path(each).name for each in mirrored}


# ---- figures, and the site -------------------------------------------------------------------------------------------


def texts(figure: Path) -> list[str]:
    """What a figure says, without where."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", figure.read_text())


def test_figures_are_drawn_by_their_code(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DOCS / "figures" / "draw.py", tmp_path], check=True, timeout=120)
    drawn = {path.name: texts(path) for path in tmp_path.iterdir()}
    assert drawn == {path.name: texts(path) for path in (DOCS / "figures").glob("*.svg")}
    assert all(drawn.values())


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the documentation's packages are not installed: pip install -e '.[docs]'")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-d", tmp_path / "doctrees"]
    done = subprocess.run([*build, DOCS, tmp_path / "html"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path / "html").with_suffix("") for path in (tmp_path / "html").rglob("*.html")}
    assert {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")} <= pages
    assert {f"nq-tflite {name}" for name in command_line.commands} == {
        re.search(r"<title>(.*?) - ", path.read_text())[1]  # type: ignore[index]
        for path in (tmp_path / "html" / "reference" / "cli").glob("*.html")
    }
    reference = "".join(path.read_text() for path in (tmp_path / "html" / "reference").glob("*.html"))
    shown = set(re.findall(r' id="(?:nq_tflite|c)\.(?:\w+\.)*(\w+)"', reference))
    assert {*nq.__all__, *EXPORTS} - {"__version__"} <= shown
