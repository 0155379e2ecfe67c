"""The documentation site: `make docs`. Its root is the repository's, so that links are GitHub's."""

from __future__ import annotations

from vidtok_edge import __version__

project = "vidtok-edge"
author = "the vidtok-edge authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "benchmarks/README.md",
    "training/README.md",
    "examples/README.md",
    "vidtok_ref/embedded/CREDITS.md",
]
myst_heading_anchors = 4  # as GitHub's
smartquotes = False  # they make one dash of the two of an option
default_role = "code"  # what single backquotes mean in our docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"vidtok-edge {release}"
html_extra_path = ["site"]  # a redirection to the entrance, and llms.txt
html_copy_source = False
