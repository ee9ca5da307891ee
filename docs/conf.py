"""How Sphinx builds these pages; `./run docs` does it, and a warning is an error."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "backout"
author = "the authors of backout"
version = release = installed_version("backout")

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "backout"
html_show_copyright = False
# A page must be readable where the database is: without a reach to the outside.
html_show_sphinx = False
