"""A page about a run in one html file, which needs nothing else: no server, no other file, no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Protocol

from markdown_it import MarkdownIt

from common.report.page_parts import data_uri

# Also refuses what a table's cell might smuggle in.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_ENVIRONMENT = ("started", "commit", "uncommitted_changes", "backend", "python", "versions", "devices", "processor")


class Part(Protocol):
    """A part of a page."""

    @property
    def heading(self) -> str: ...

    def html(self) -> str:
        """All of it but the heading."""


@dataclass(frozen=True)
class Text:
    """Markdown, as GitHub has its tables; html in it is shown, and not followed."""

    heading: str
    markdown: str

    def html(self) -> str:
        """Its paragraphs and tables; wide tables can be scrolled."""
        parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
        text = parser.render(self.markdown)
        text = text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
        return text.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")


@dataclass(frozen=True)
class Figures:
    """Pictures of a run folder, path -> caption."""

    folder: Path
    captions: Mapping[str, str]
    heading: str = "Figures"

    def html(self) -> str:
        """Those that are there, each with its caption."""
        return "".join(
            f'<figure class="figure"><img alt="{escape(caption)}" '
            f'src="{data_uri((self.folder / path).read_bytes(), "image/png")}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for path, caption in self.captions.items()
            if (self.folder / path).is_file()
        )


@dataclass(frozen=True)
class Settings:
    """Names and values, folded."""

    heading: str
    values: Mapping[str, Any]

    def html(self) -> str:
        """A list to be unfolded."""
        lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_plain(v))}</dd>" for name, v in self.values.items())
        return f"<details><summary>show</summary><dl>{lines}</dl></details>"


def _plain(value: Any) -> str:
    """A JSON value as a person writes it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, bool) or value is None:
        return {None: "–", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def environment(folder: Path) -> dict[str, Any]:
    """With what a run was trained: commit, versions and devices of its last start; empty if that is not known."""
    from common.experiments.environment import read_environment  # loads the framework, with which a run was trained

    last = (read_environment(folder) or [{}])[-1]
    return {name: last[name] for name in _ENVIRONMENT if name in last}


def page(title: str, parts: Sequence[Part]) -> str:
    """The text of the html file."""
    here = Path(__file__).parent
    style, program = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    links = "".join(f'<a href="#part{i}">{escape(part.heading)}</a>' for i, part in enumerate(parts))
    body = "\n".join(
        f'<section id="part{i}"><h2>{escape(part.heading)}</h2>\n{part.html()}</section>'
        for i, part in enumerate(parts)
    )
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        '<link rel="icon" href="data:,">',  # or a browser would ask a server for one
        f"<title>{escape(title)}</title>",
        f"<style>\n{style}</style>",
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n' + "\n".join(head) + "\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n<script>\n{program}</script>\n</body>\n</html>\n"
    )
