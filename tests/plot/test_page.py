"""The page of `nq-tflite report`: what it tells, what it does not make up, and names that would like to be more than
text; in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from commands import check_error, invoke, run
from PIL import Image

import nq_tflite as nq
from nq_tflite.conversion.convert import convert
from nq_tflite.conversion.report import ConversionReport, Estimate
from nq_tflite.errors import FormatError, MissingPackageError, OutputError, SelectionError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.inspection import inspect_file
from nq_tflite.measure.findings import find
from nq_tflite.plot.page.drawings import _style

#: Layers' names that end a text, an attribute, a comment or a formula and go on as something else.
EVIL_NAMES = (
    "<script>alert(1)</script>",
    "\"' onmouseover=alert(2) x='",
    "--></text></svg><img src=x onerror=alert(3)>",
    r"a/$\frac{x",
    "{{ 7 * 7 }} url(#0072b2)",
)
SECTIONS = ["Summary", "What to try", "Size and accuracy", "Latency and memory", "Layers", "Weights"]


class Elements(HTMLParser):
    """A page's elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory, int8_tflite: bytes) -> tuple[Path, ConversionReport]:
    """A nested model whose file and layers have such names, and the report of its conversion."""
    model = fb.read_model(int8_tflite).model
    weights = [tensor for tensor in model.subgraphs[0].tensors if tensor.type == fb.schema.TensorType.INT8]
    large = sorted(weights, key=lambda tensor: -np.prod(fb.shape(tensor)) if _is_constant(model, tensor) else 0)
    for tensor, name in zip(large, EVIL_NAMES, strict=False):
        tensor.name = name
    path = tmp_path_factory.mktemp("page") / "<i>a & b.tflite"
    return path, convert(fb.pack_model(model), path, "8|6|4", rounding="nearest")


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


@pytest.fixture(scope="module")
def page(evil: tuple[Path, ConversionReport], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page, where nothing can run."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("nq_tflite.measure.findings.installed_runtimes", lambda: ())
        nq.write_report(evil[0], path, conversion=evil[1])
    return path


@pytest.fixture
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nq_tflite.measure.findings.installed_runtimes", lambda: ())


def test_the_command_measures_and_writes_one_page(nested_dir: Path, tmp_path: Path) -> None:
    model, page = shutil.copy(nested_dir / "int8_8_5.tflite", tmp_path / "m.tflite"), tmp_path / "m.html"
    done = run("report", model, "--plot", tmp_path / "m.svg", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["page"], told["not_run"], told["evaluation"]) == (str(page), "", None)
    assert [switch["bits"] for switch in told["timeline"]["switches"]] == [5, 8, 5, 8]
    assert [moment["bits"] for moment in told["timeline"]["moments"][::25]] == [8, 5, 8, 5, 8]
    full, part = (told["timeline"]["moments"][at]["weights"] for at in (24, 49))
    assert 0 < part < full
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.html", "m.svg", "m.tflite"]
    text = page.read_text()
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", text)[:6] == SECTIONS
    assert "Accuracy has not been measured" in text
    assert f"{told['file']['file_bytes'] / 1e6:.2f} <small>MB</small>" in text
    assert f"{told['timeline']['runtime']}, 1 thread" in text
    rows = Elements(text).named("tr")
    assert len(rows) >= len(told["file"]["weights"])


def test_what_has_not_run_is_said(page: Path) -> None:
    text = page.read_text()
    assert "The model has not run here: no TFLite runtime" in text
    assert 'aria-label="Latency' not in text
    assert "Accuracy has not been measured" in text


@pytest.mark.slow
@pytest.mark.usefixtures("no_runtime")
def test_without_a_runtime_it_says_so(nested_dir: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    check_error(invoke("report", nested_dir / "float_8_5.tflite", "-o", page, "--layer", "no such"), "0 that fit")
    result = invoke("report", nested_dir / "float_8_5.tflite", "-o", page)
    assert result.exit_code == 0, result.stderr
    assert "without latency and memory: no TFLite runtime is installed" in result.stdout
    text = page.read_text()
    assert "The model has not run here: no TFLite runtime" in text
    assert 'aria-label="Latency' not in text


def test_names_are_text_and_nothing_else(evil: tuple[Path, ConversionReport], page: Path) -> None:
    path, conversion = evil
    assert {name for name in EVIL_NAMES if name in {row.name for row in conversion.weights}} == set(EVIL_NAMES)
    elements = Elements(page.read_text())
    assert [len(elements.named(tag)) for tag in ("script", "img", "title", "i")] == [1, 0, 1, 0]
    handlers = [(tag, name) for tag, attributes in elements.found for name in attributes if name.startswith("on")]
    assert handlers == []
    assert {attributes["title"] for attributes in elements.named("th") if "title" in attributes} >= set(EVIL_NAMES)
    assert "{{ 7 * 7 }}" in elements.text
    assert path.name in elements.text


def test_drawings_take_type_colours_and_ids_from_the_page(page: Path) -> None:
    """Whatever form this matplotlib writes them in."""
    text = page.read_text()
    drawings = re.findall("<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) >= 3
    for drawing in drawings:
        elements = Elements(drawing).found
        styles = [attributes["style"] or "" for _, attributes in elements if "style" in attributes]
        assert "var(--ink)" in " ".join(styles)
        assert not re.search("#[0-9a-f]{6}|font-family|font:", " ".join(styles))
        assert all("font-size: " in (attributes["style"] or "") for tag, attributes in elements if tag == "text")
        assert not any(tag in ("style", "metadata") or ":" in tag + "".join(names) for tag, names in elements)
        assert set(elements[0][1]) == {"role", "aria-label", "viewbox"}
        ids = {attributes["id"] for _, attributes in elements if "id" in attributes}
        named = " ".join(value or "" for _, attributes in elements for value in attributes.values())
        assert set(re.findall(r"(?:url\(|^|\s)#([^)\s]+)", named)) <= ids
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("font: 9px 'DejaVu Sans', sans-serif; fill: #000000", "font-size: 9px; fill: var(--ink)"),
        ("font: 700 9.5px Arial; text-anchor: start", "font-weight: 600; font-size: 9.5px; text-anchor: start"),
        ("font-weight: 700; font-size: 9.5px; font-family: Arial", "font-weight: 600; font-size: 9.5px"),
        ("fill: url(#h1); stroke: #0072B2", "fill: url(#sizes-h1); stroke: var(--colour-0)"),
    ],
)
def test_a_style_of_any_matplotlib(written: str, taken: str) -> None:
    assert _style(written, "sizes") == taken


def test_nothing_is_fetched(page: Path) -> None:
    text = page.read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    elements = Elements(text)
    links = [value for _, attributes in elements.found for name, value in attributes.items() if name in ("src", "href")]
    assert all(value is not None and value.startswith(("#", "data:,")) for value in links)
    [policy] = [each["content"] for each in elements.named("meta") if each.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(set(ids)) == len(ids)


@pytest.mark.usefixtures("no_runtime")
def test_the_conversions_own_word(evil: tuple[Path, ConversionReport], nested_dir: Path, tmp_path: Path) -> None:
    """Its estimate and advice, from the object or from the lines of JSON, and only of the file in question."""
    path, conversion = evil
    estimate = Estimate("photos", 30, True, (4, 6, 8), (0.5, 0.75, 1.0), (0.5, 0.75, 1.0), (3.0, 11.5, float("inf")))
    conversion = replace(conversion, estimate=estimate, notes=("a note",))
    first = nq.write_report(path, tmp_path / "a.html", conversion=conversion)
    assert any(line.startswith("part-bit loses") and "nesting='8|6|5'" in line for line in first.advice)
    text = (tmp_path / "a.html").read_text()
    for expected in ("50.0 %", "75.0 %", "11.5", "exact", "a note", "photos, 30 that rounding has not seen"):
        assert expected in text
    lines = tmp_path / "lines.json"
    lines.write_text(json.dumps(conversion.as_dict()).replace("Infinity", "null"))
    second = find(path, conversion=lines)
    assert (second.advice, second.conversion) == (first.advice, first.conversion)
    commands = find(path, conversion=lines, command_line=True).advice
    assert any(line.startswith("part-bit loses") and "--nesting '8|6|5'" in line for line in commands)
    with pytest.raises(FormatError, match="that of another file"):
        find(nested_dir / "int8_8_6_4.tflite", conversion=lines)
    for broken in ("", "[]", "{}", json.dumps(conversion.as_dict() | {"weights": [1]})):
        lines.write_text(broken)
        with pytest.raises(FormatError, match="the output of nq-tflite convert --json"):
            find(path, conversion=lines)


@pytest.mark.usefixtures("no_runtime")
def test_refuses(nested_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nested_dir / "int8_8_5.tflite"
    with pytest.raises(OutputError, match="a writable folder"):
        nq.write_report(model, tmp_path / "missing" / "report.html")
    with pytest.raises(SelectionError, match="0 that fit"):
        nq.write_report(model, tmp_path / "report.html", layers=["no such layer"])
    with pytest.raises(FormatError, match="readable"):
        nq.write_report(tmp_path / "missing.tflite", tmp_path / "report.html")
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(MissingPackageError, match=r"\.\[report\]"):
        nq.write_report(model, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
    result = invoke("report", model, "--labels", "labels.csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--labels needs --photos" in result.stderr


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG has it."""
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_text_and_marks_stand_out_in_both_schemes() -> None:
    """WCAG's AA: 4.5 for text, 3 for what figures are made of."""
    sheet = (files("nq_tflite.plot.page") / "page.css").read_text()
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", sheet, re.S)
    ]
    assert len(schemes) == 3  # light, dark, printed
    for colours in schemes:
        for ground in ("page", "card"):
            assert min(contrast(colours[name], colours[ground]) for name in ("ink", "quiet")) >= 4.5
        marks = [colour for name, colour in colours.items() if name.startswith("colour-")]
        assert len(marks) == 6
        assert min(contrast(colour, colours["card"]) for colour in marks) >= 3


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(
    evil: tuple[Path, ConversionReport], int8_tflite: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A page with all that a page can have, of the model with such names."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "stock.tflite").write_bytes(int8_tflite)
    photos = folder / "photos"
    photos.mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    (photos / "labels.csv").write_text("file,imagenet_indices\n0.png,1\n1.png,2 3\n2.png,4\n")
    nq.write_report(
        evil[0],
        folder / "report.html",
        photos,
        reference=folder / "stock.tflite",
        against=folder / "stock.tflite",
        conversion=evil[1],
        preprocess="0..1",
    )
    return folder / "report.html"


@pytest.fixture
def browser(tmp_path: Path) -> Any:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with Browser(tmp_path) as browser:
        yield browser


#: Texts of figures whose colour does not stand out from the panel under them, and the panel's colour.
_DIM = """(() => {
  const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255)
    .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = getComputedStyle(document.querySelector(".panel")).backgroundColor;
  const texts = [...document.querySelectorAll("svg text")].filter((each) => {
    const [a, b] = [light(getComputedStyle(each).fill), light(ground)].sort((one, other) => one - other);
    return (b + 0.05) / (a + 0.05) < 4.5;
  });
  return [texts.length, ground];
})()"""


@pytest.mark.slow
def test_in_a_browser(browser: Browser, everything: Path) -> None:
    grounds = set()
    for width in (360, 800, 1280):
        for scheme in ("light", "dark"):
            browser.look(everything, width, scheme=scheme)
            assert browser.run("document.documentElement.scrollWidth") <= width
            shown = "[...document.querySelectorAll('figure > .SIDE')].every((each) => each.offsetParent !== null)"
            assert browser.run(shown.replace("SIDE", "narrow" if width < 760 else "wide"))
            assert not browser.run(shown.replace("SIDE", "wide" if width < 760 else "narrow"))
            dim, ground = browser.run(_DIM)
            assert dim == 0
            grounds.add(ground)
    assert len(grounds) == 2
    assert browser.run("document.querySelectorAll('svg:not([role=img][aria-label])').length") == 0
    assert browser.run("document.querySelectorAll('table:not(:has(caption))').length") == 0
    assert (
        browser.run("[...document.querySelectorAll('h1, h2')].map((each) => each.tagName).join('')") == "H1" + "H2" * 7
    )
    assert {url for url in browser.requests if url != everything.as_uri()} <= {"data:,"}
    assert browser.complaints == []


@pytest.mark.slow
def test_sorting(browser: Browser, everything: Path, evil: tuple[Path, ConversionReport]) -> None:
    browser.look(everything, 1280)
    column = "[...document.querySelectorAll('.layers tbody tr')].map((row) => Number(row.cells[AT].dataset.value))"
    click = "document.querySelectorAll('.layers thead button')[AT].click()"
    state = "document.querySelectorAll('.layers thead th')[AT].ariaSort"
    rows = inspect_file(evil[0]).weights
    errors = sorted(row.snr_db[0] for row in rows)
    assert browser.run(column.replace("AT", "1")) == pytest.approx(errors, abs=1e-5)
    sizes = sorted(sum(row.level_bytes) for row in rows)
    for wanted, order in ((sizes, "ascending"), (sizes[::-1], "descending"), (sizes, "ascending")):
        browser.run(click.replace("AT", "3"))
        assert browser.run(column.replace("AT", "3")) == wanted
        assert browser.run(state.replace("AT", "3")) == order
        assert browser.run(state.replace("AT", "1")) is None
    browser.run(click.replace("AT", "0"))
    names = browser.run("[...document.querySelectorAll('.layers tbody th')].map((each) => each.dataset.value)")
    assert len(names) == len(rows)
    assert browser.complaints == []


@pytest.mark.slow
def test_a_long_table_opens(browser: Browser, everything: Path, tmp_path: Path) -> None:
    """More layers than are shown at first: all by a click, and on paper without one."""
    row = re.search(r"<tbody>\s*(<tr>\s*<th scope=\"row\" data-value.*?</tr>)", everything.read_text(), re.S)
    assert row is not None
    longer = tmp_path / "longer.html"
    longer.write_text(everything.read_text().replace(row.group(1), row.group(1) * 40))
    seen = "[...document.querySelectorAll('.layers tbody tr')].filter((row) => row.offsetParent !== null).length"
    browser.look(longer, 720, media="print")
    total = browser.run(seen)
    assert browser.run("document.querySelector('.wide').offsetParent !== null")
    assert total >= 40
    browser.look(longer, 800)
    assert browser.run(seen) == 12
    browser.run("document.querySelector('.all').click()")
    assert browser.run(seen) == total
    assert browser.run("document.querySelectorAll('.all').length") == 0
