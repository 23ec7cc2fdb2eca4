"""Figures that are drawn twice: where `name-dark.svg` stands beside `name.svg`, a page shows the one of its theme.

Where `name-narrow.svg` stands beside both, a phone shows that one, of its theme.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class LightAndDark(SphinxTransform):
    """Puts the dark drawing behind the light one; furo's classes show one of them."""

    default_priority = 400  # before Sphinx collects images

    def apply(self, **options: Any) -> None:
        for image in list(self.document.findall(nodes.image)):
            wide, narrow = Path(image["uri"]), _beside(Path(image["uri"]), "-narrow")
            drawings, for_phones = self._of_both_themes(image, wide), self._of_both_themes(image, narrow)
            if for_phones:
                pair = (("off-phone", drawings), ("on-phone", for_phones))
                drawings = [nodes.inline("", "", *each, classes=[look]) for look, each in pair]
            if drawings:
                image.replace_self(drawings)

    def _of_both_themes(self, image: nodes.image, light: Path) -> list[nodes.image]:
        """Nothing where there is no dark drawing."""
        folder, dark = Path(self.env.doc2path(self.env.docname)).parent, _beside(light, "-dark")
        if not (folder / dark).is_file():
            return []
        twins = [image.deepcopy(), image.deepcopy()]
        for twin, path, look in zip(twins, (light, dark), ("only-light", "only-dark"), strict=True):
            twin["uri"] = str(path)
            twin["classes"].append(look)
        return twins


def _beside(drawing: Path, ending: str) -> Path:
    return drawing.with_stem(f"{drawing.stem}{ending}")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(LightAndDark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
