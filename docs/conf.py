"""Sphinx's settings: `make docs` builds the site into build/docs, and any warning fails it."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS / "_extensions")]

from nq_tflite.version import __version__  # noqa: E402  (the package is installed; the path is for the extensions)

project = "nq_tflite"
author = "the nq_tflite authors"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_click",
    "c_header",
    "command_pages",
    "docstrings",
    "light_and_dark",
    "mathml",
    "repository",
]
exclude_patterns = ["_extensions", "figures"]

# Pages are Markdown. Notebooks bring their outputs: tests run them, the site does not.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"

# Docstrings in Google's style, written for people who read the source: `such words` are code there.
default_role = "code"
smartquotes = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Returns", "params_style")]
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

# Every reference must lead somewhere, but for other projects' names: no build needs a network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|np|npt|collections|contextlib|os|pathlib|types|typing|logging|enum|click)\..*"),
    ("py:.*", r"NDArray|Any|Path|Callable|Iterator|Iterable|Mapping|Sequence|TracebackType|PathLike|np|npt|Figure"),
    ("py:.*", "NestedWeight"),  # as it is written where it is not imported
    ("py:.*", r"nq_tflite\.(graph\.flatbuffer|format)\..*"),  # rooms that are nobody's business
    ("c:identifier", r"u?int\d+_t|size_t|TfLiteDelegate|LiteRtAcceleratorDef"),
]

html_theme = "furo"
html_math_renderer = "mathml"
pygments_dark_style = "github-dark"
html_title = f"nq_tflite {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
    "top_of_page_buttons": [],
}
copybutton_exclude = ".linenos, .gp, .go"
