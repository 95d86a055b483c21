"""One html file about a ranking, which needs nothing else: scores, curves, ranked lists and failures."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.datasets.images import read_image
from common.files import write_text
from common.retrieval.embeddings import Embeddings
from common.retrieval.protocol import Protocol
from common.retrieval.ranking import FIRST_RANK, MATCHES, STANDARD
from common.retrieval.search import search
from common.retrieval.verification import verification_rates

_LISTS, _DEPTH = 24, 10  # queries in each of both lists, and images of each
_HEIGHT = 112  # pixels of a picture
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: .2em 1em; border-bottom: 1px solid #ccc; text-align: right }
td:first-child, th:first-child { text-align: left } summary { cursor: pointer; padding: .2em 0 }
.row { display: flex; gap: 6px; overflow-x: auto; padding: .4em 0 }
figure { margin: 0; text-align: center; font-size: 12px; border-top: 5px solid #999 }
figure.right { border-color: #0072b2 } figure.wrong { border-color: #d55e00 }
figure img, figure div { height: 112px; min-width: 48px } figure div { background: #eee }
svg { max-width: 460px; margin-right: 1em } svg text { font-size: 11px; fill: #444 }
"""


def write_report(
    path: Path,
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    results: np.ndarray,
    rows: Sequence[Sequence[str | None]],
    distances: Any = None,
) -> None:
    """Writes the file.

    Args:
        path: of the html file.
        query: Q images.
        gallery: G images.
        protocol: under which they were ranked.
        results: of `metrics.rank`, (Q, 7).
        rows: of the table of scores: name, value, and both ends of the interval.
        distances: as of `score`.

    Raises:
        ValueError: as `score`.
    """
    valid = np.flatnonzero(results[:, MATCHES])
    worst = valid[np.argsort(results[valid, STANDARD], kind="stable")][:_LISTS]
    spread = valid[np.unique(np.linspace(0, len(valid) - 1, _LISTS).astype(int))]
    depth = min(_DEPTH, len(gallery))
    nearest = search(query, gallery, depth, protocol=protocol, distances=distances).indices
    pictures = _Pictures()
    lists = [
        (title, [_ranked(i, query, gallery, nearest[i], results[i], pictures) for i in chosen])
        for title, chosen in (
            ("Failures: the lowest average precision", worst),
            ("Queries from all of the set", spread),
        )
    ]
    lines = ["".join(f"<td>{escape(cell or '–')}</td>" for cell in row) for row in rows]
    cells = "".join(f"<tr>{line}</tr>" for line in lines)
    head = "<tr><th>score (%)</th><th>value</th><th>95 % from</th><th>to</th></tr>"
    rules = ", ".join(f"{name} {value}" for name, value in vars(protocol).items())
    body = [
        "<h1>Retrieval report</h1>",
        f"<p>{len(valid)} valid queries, {len(query) - len(valid)} skipped for lack of a match, {len(gallery)} gallery "
        f"images. {'Re-ranked. ' if distances is not None else ''}Protocol: {escape(rules)}.</p>",
        f"<table>{head}{cells}</table><h2>Curves</h2>",
        _cmc(results[valid, FIRST_RANK], len(gallery)),
        _roc(query, gallery, protocol),
        *(f"<h2>{title}</h2>{''.join(details)}" for title, details in lists),
    ]
    if pictures.unread:
        body.insert(2, f"<p>{pictures.unread} image(s) could not be read, such as {escape(pictures.example)}.</p>")
    text = "\n".join(body)
    write_text(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Retrieval report</title>'
        f"<style>{_STYLE}</style></head><body>\n{text}\n</body></html>\n",
    )


class _Pictures:
    """Small pictures as data of the html file, each one made once."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}
        self.unread, self.example = 0, ""

    def html(self, images: Embeddings, index: int) -> str:
        if images.paths is None:
            return "<div></div>"
        path = str(images.paths[index])
        if path not in self.made:
            self.made[path] = self._make(path)
        return self.made[path]

    def _make(self, path: str) -> str:
        try:
            image = read_image(path)
        except ValueError:
            self.unread, self.example = self.unread + 1, path
            return "<div>not readable</div>"
        width = max(1, round(_HEIGHT * image.shape[1] / image.shape[0]))
        small = cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'


def _ranked(
    i: int, query: Embeddings, gallery: Embeddings, nearest: np.ndarray, result: np.ndarray, pictures: _Pictures
) -> str:
    """A query with its nearest images, to be unfolded."""
    name = f"Query {i}, identity {query.identities[i]}"
    name += "" if query.paths is None else f", {Path(query.paths[i]).name}"
    figures = [f"<figure>{pictures.html(query, i)}<br>query</figure>"]
    for place, j in enumerate(nearest[nearest >= 0], 1):
        right = str(gallery.identities[j]) == str(query.identities[i])
        label = f"{place} {'✓' if right else '✗'} {gallery.identities[j]}"
        style = "right" if right else "wrong"
        figures.append(f'<figure class="{style}">{pictures.html(gallery, j)}<br>{escape(label)}</figure>')
    scores = f"AP {100 * result[STANDARD]:.1f} %, first match at rank {result[FIRST_RANK]:.0f}"
    return (
        f'<details open><summary>{escape(name)}: {scores}</summary><div class="row">{"".join(figures)}</div></details>'
    )


def _cmc(first: np.ndarray, num_gallery: int) -> str:
    last = min(50, max(2, num_gallery))
    shares = [float(np.mean(first <= k)) for k in range(1, last + 1)]
    points = [((k - 1) / (last - 1), share) for k, share in enumerate(shares, 1)]
    return _curve("CMC: share of queries with a match up to rank k", points, ("1", str(last)))


def _roc(query: Embeddings, gallery: Embeddings, protocol: Protocol) -> str:
    try:
        rates = verification_rates(query, gallery, protocol=protocol)
    except ValueError:  # no pairs of one kind
        return ""
    lowest = min(1 / max(2, rates.different[-1]), 0.1)  # one pair
    x = np.geomspace(lowest, 1, 60)
    places = 1 - np.log(x) / np.log(lowest)
    points = [(float(a), rates.true_positive_rate_at(float(b))) for a, b in zip(places, np.minimum(x, 1))]
    return _curve("ROC: true positive rate at a false positive rate", points, (f"{lowest:.0e}", "1"))


def _curve(title: str, points: Iterable[tuple[float, float]], ends: tuple[str, str]) -> str:
    """A line through points in the unit square, as a drawing in the html file."""
    line = " ".join(f"{40 + 380 * x:.1f},{210 - 180 * y:.1f}" for x, y in points)
    grid = "".join(
        f'<line x1="40" x2="420" y1="{210 - 1.8 * y}" y2="{210 - 1.8 * y}" stroke="#ddd"/>'
        f'<text x="34" y="{214 - 1.8 * y}" text-anchor="end">{y}</text>'
        for y in range(0, 101, 25)
    )
    return (
        f'<svg viewBox="0 0 440 240"><text x="40" y="18">{escape(title)} (%)</text>{grid}'
        f'<text x="40" y="228">{ends[0]}</text><text x="420" y="228" text-anchor="end">{ends[1]}</text>'
        f'<polyline points="{line}" fill="none" stroke="#0072b2" stroke-width="2"/></svg>'
    )
