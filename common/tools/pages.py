"""Renews every page that shows numbers, from the projects' `results.json`: `make pages`.

The first page gets a row for each project, its first finding, and one picture of all six.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path

import matplotlib.image
from matplotlib.figure import Figure

from common.experiments.config import run_command
from common.report import plots, tables

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("project", "publication", "its claim", "verdict here", "measured", "command")
# Project -> the picture of its README that shows best what it does, and what that is.
PICTURES = {
    "adaptive_l2": ("factors.png", "a regularization factor for each weight array"),
    "flipreid": ("ranked_lists.png", "people in other cameras, by image and mirror"),
    "shufflebits": ("reconstructions.png", "what stolen embeddings give away"),
    "vehicle_attributes": ("nearest_type.png", "vehicle types by the nearest example"),
    "neural_compression": ("rate_distortion.png", "photographs in few bits"),
    "l2_autoencoder": ("tsne.png", "clusters of codes of unit length"),
}


def renew_pages(root: Path = ROOT) -> None:
    """Renews the pages of all projects in `PICTURES`, and the table of the first page."""
    for project in PICTURES:
        importlib.import_module(f"{project}.tables").renew_pages()
    tables.update_between(root / "README.md", "verdicts", verdict_table())


def verdict_table() -> str:
    """The first finding of each project, with its publication, in Markdown."""
    rows = []
    for project in PICTURES:
        module = importlib.import_module(f"{project}.tables")
        title = importlib.import_module(f"{project}.paper_results").PUBLICATION
        first = module.findings(tables.published(module.HERE))[0]
        measured = first.measured if first.measured == "–" else f"{first.measured} ({first.on})"
        link = f"[{project}]({project}/README.md)"
        rows.append([link, title.partition(":")[0], first.claim, first.verdict, measured, first.command])
    return tables.table(COLUMNS, rows)


def overview(path: Path, pictures: Mapping[str, tuple[Path, str]]) -> None:
    """One figure of several pictures, three in a row.

    Args:
        path: of the PNG.
        pictures: title -> PNG and its caption.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots(2, -(-len(pictures) // 2), squeeze=False).flat
    for axis, (title, (picture, caption)) in zip(axes, pictures.items()):
        axis.imshow(matplotlib.image.imread(picture))
        axis.set_title(f"{title}\n{caption}", fontsize=7)
        axis.set_anchor("N")  # titles of a row in one line
        axis.axis("off")
    plots.save(figure, path)


def main() -> None:
    """Command line, without arguments."""
    renew_pages()
    pictures = {name: (ROOT / name / "figures" / file, text) for name, (file, text) in PICTURES.items()}
    overview(ROOT / "docs/figures/overview.png", pictures)


if __name__ == "__main__":
    run_command(main)
