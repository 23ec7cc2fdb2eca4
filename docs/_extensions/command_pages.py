"""A page for every command, and a list of them on the page of the command line, in the order of --help."""

from pathlib import Path
from typing import Any

import click
from sphinx.application import Sphinx

from nq_tflite.cli import nq_tflite

INDEX = "reference/cli"
FOLDER = Path(__file__).resolve().parents[1] / INDEX


def _page(name: str) -> str:
    command = nq_tflite.commands[name]
    callback: Any = command.callback
    options = f"   :prog: nq-tflite {name}\n   :nested: none\n"
    return f"```{{eval-rst}}\n.. click:: {callback.__module__}:{callback.__name__}\n{options}```\n"


def _write_pages(app: Sphinx, config: Any) -> None:
    pages = {FOLDER / f"{name}.md": _page(name) for names in nq_tflite.sections.values() for name in names}
    FOLDER.mkdir(exist_ok=True)
    for stale in {*FOLDER.iterdir()} - {*pages}:
        stale.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _row(command: click.Command) -> str:
    return f"- [nq-tflite {command.name}](cli/{command.name}.md): {command.get_short_help_str(200)}"


def _list_commands(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname != INDEX:
        return
    parts, names = [source[0].rstrip()], []
    for heading, section in nq_tflite.sections.items():
        parts += [f"## {heading}", "\n".join(_row(nq_tflite.commands[name]) for name in section)]
        names += [f"{name} <cli/{name}>" for name in section]
    parts.append("\n".join(["```{toctree}", ":hidden:", "", *names, "```"]))
    source[0] = "\n\n".join(parts) + "\n"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", _write_pages)
    app.connect("source-read", _list_commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
