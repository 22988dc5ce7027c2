"""How Sphinx builds these pages: `sphinx-build -W docs build/docs`."""

project = "Roundel"
author = "The Roundel authors"
copyright = "2026, the Roundel authors"  # noqa: A001, Sphinx's own name
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "literal"
myst_heading_anchors = 3
exclude_patterns = ["images"]
html_theme = "furo"
html_title = "Roundel"
