"""One html file about a ranking, which needs nothing else: scores, curves, and ranked lists with the failures first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_text
from common.report import html
from common.report.charts import Chart, Charts, Line
from common.report.page_parts import Picture, RankedList, RankedLists, Thumbnails, failures_and_spread
from common.report.tables import table
from common.retrieval.embeddings import Embeddings
from common.retrieval.protocol import Protocol
from common.retrieval.ranking import FIRST_RANK, MATCHES, STANDARD
from common.retrieval.search import search
from common.retrieval.verification import verification_rates

_DEPTH = 10  # images of a list


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
    rules = ", ".join(f"{name} {value}" for name, value in vars(protocol).items())
    text = (
        f"{len(valid)} valid queries, {len(query) - len(valid)} skipped for lack of a match, {len(gallery)} gallery "
        f"images. {'Re-ranked. ' if distances is not None else ''}Protocol: {rules}."
    )
    charts = [_cmc(results[valid, FIRST_RANK], len(gallery)), *_roc(query, gallery, protocol)]
    parts: list[html.Part] = [
        html.Text("Scores", f"{text}\n\n{table(['score (%)', 'value', '95 % from', 'to'], rows)}"),
        ranked_lists("Ranked lists", query, gallery, protocol, results, distances),
        Charts("Curves", "Point at a line for its values.", charts),
    ]
    write_text(path, html.page("Retrieval report", parts))


def ranked_lists(
    heading: str,
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    results: np.ndarray,
    distances: Any = None,
    boxes: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    figures: Sequence[str] = (),
) -> RankedLists:
    """Queries with a match and the nearest images of each: those with the lowest average precision, and others.

    Args:
        heading: of the part.
        query: Q images.
        gallery: G images.
        protocol: under which they were ranked.
        results: of `metrics.rank`, (Q, 7).
        distances: as of `score`.
        boxes: of the queries (Q, 4) and of the gallery (G, 4) in their files, or None.
        figures: as of `RankedLists`.

    Raises:
        ValueError: as `score`.
    """
    valid = np.flatnonzero(results[:, MATCHES])
    failures, spread = (valid[order].tolist() for order in failures_and_spread(results[valid, STANDARD]))
    neighbors = search(query, gallery, min(_DEPTH, len(gallery)), protocol=protocol, distances=distances)
    thumbnails = Thumbnails()

    def source(images: Embeddings, of: np.ndarray | None, i: int) -> str | None:
        box = None if of is None else tuple(of[i])
        return None if images.paths is None else thumbnails.of(str(images.paths[i]), box)

    def camera(images: Embeddings, i: int) -> str:
        return "" if images.cameras is None else f"camera {images.cameras[i]}"

    lists = {}
    for i in sorted({*failures, *spread}):
        identity = str(query.identities[i])
        name = "" if query.paths is None else f", {Path(query.paths[i]).name}"
        scores = f"AP {100 * results[i, STANDARD]:.1f} %, first match at rank {results[i, FIRST_RANK]:.0f}"
        nearest = [
            Picture(source(gallery, boxes[1], j), other, f"{distance:.3f}\n{camera(gallery, j)}", other == identity)
            for j, distance in zip(neighbors.indices[i], neighbors.distances[i])
            if j >= 0
            for other in [str(gallery.identities[j])]
        ]
        title = f"Query {i}, identity {identity}{name}: {scores}"
        lists[i] = RankedList(title, Picture(source(query, boxes[0], i), identity, camera(query, i)), nearest)
    caption = f"The nearest images by {protocol.metric} distance: ✓ of the query's identity, ✗ of another one."
    if thumbnails.unread:
        caption += f" {len(thumbnails.unread)} image(s) could not be read, such as {thumbnails.unread[0]}."
    return RankedLists(heading, caption, lists, failures, spread, figures)


def _cmc(first: np.ndarray, num_gallery: int) -> Chart:
    ranks = np.arange(1, min(50, num_gallery) + 1)
    shares = [100 * float(np.mean(first <= k)) for k in ranks]
    return Chart("CMC: queries with a match up to a rank (%)", "rank", [Line("CMC", ranks, shares)])


def _roc(query: Embeddings, gallery: Embeddings, protocol: Protocol) -> list[Chart]:
    """The curve, unless all pairs are of one kind."""
    try:
        rates = verification_rates(query, gallery, protocol=protocol)
    except ValueError:
        return []
    x = np.geomspace(min(1 / max(2, rates.different[-1]), 0.1), 1, 60)  # from one pair on
    shares = [100 * rates.true_positive_rate_at(min(float(rate), 1.0)) for rate in x]
    return [Chart("ROC: true positive rate (%)", "false positive rate", [Line("ROC", x, shares)], log_x=True)]
