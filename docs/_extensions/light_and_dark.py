"""Figures that are drawn twice: where `name-dark.svg` stands beside `name.svg`, a page shows the one of its theme."""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class LightAndDark(SphinxTransform):
    """Puts the dark drawing behind the light one; furo's classes show one of them."""

    default_priority = 400  # before Sphinx collects images

    def apply(self, **options: Any) -> None:
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for image in list(self.document.findall(nodes.image)):
            light = Path(image["uri"])
            dark = light.with_stem(f"{light.stem}-dark")
            if not (folder / dark).is_file():
                continue
            twin = image.deepcopy()
            twin["uri"] = str(dark)
            image["classes"].append("only-light")
            twin["classes"].append("only-dark")
            image.parent.insert(image.parent.index(image) + 1, twin)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(LightAndDark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
