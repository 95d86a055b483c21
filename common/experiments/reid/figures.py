"""Figures of a run of re-identification, besides its ranked lists: curves, maps of embeddings, saliency."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import keras
import numpy as np
from matplotlib import colormaps

from common.datasets import images, person_reid
from common.experiments import entry
from common.experiments.reid.saliency import similarity_maps
from common.experiments.reid.scores import protocol_of
from common.report import plots
from common.report.charts import method_of
from common.retrieval import Embeddings, Scores, Verification, load_embeddings, score, search, verification_rates

RANKS = range(1, 21)
RETRIEVAL = (
    "Left: queries with a match among the first k images (CMC). Right: pairs of one person that a threshold misses, "
    "against pairs of two persons that it accepts (DET). Thin lines are seeds."
)
EMBEDDINGS = "t-SNE of the embeddings of {} test identities, each with a color and a marker."
SIMILARITY = (
    "What each place of a query and of its nearest image contributes to their cosine similarity: bright is much. Left: "
    "the query of the lowest average precision; right: that of the highest. ✓ the same person, ✗ another."
)


def draw_retrieval(results: entry.Results, features: str, path: Path) -> None:
    """CMC and DET curves of all trainings of a run, those of a method in one color; `features` names their files."""
    cmc: dict[str, list[list[float]]] = {}
    pairs: dict[str, list[Verification]] = {}
    for trial in results.trials:
        query, gallery = load_embeddings(results.run / trial.name / features)
        protocol, kind = protocol_of(query), method_of(trial.name)
        shares = score(query, gallery, protocol=protocol, ranks=RANKS).cmc
        cmc.setdefault(kind, []).append([100 * shares[rank] for rank in RANKS])
        pairs.setdefault(kind, []).append(verification_rates(query, gallery, protocol=protocol))
    number = next(iter(pairs.values()))[0].different[-1]  # of pairs of two persons, the same for all trainings
    rates = np.geomspace(min(max(1e-4, 1 / number), 0.5), 0.5, 60)
    missed = {
        kind: [[100 - 100 * each.true_positive_rate_at(rate) for rate in rates] for each in trainings]
        for kind, trainings in pairs.items()
    }
    figure, axes = plots.panels(["", ""], columns=2)
    axes[0].set(xlabel="rank k", ylabel="queries with a match up to k (%)", xticks=[1, 5, 10, 15, 20])
    axes[1].set(xlabel="accepted pairs of two persons (%)", ylabel="missed pairs of one person (%)", xscale="log")
    for axis, at, values in zip(axes, (list(RANKS), 100 * rates), (cmc, missed)):
        lines = plots.draw_curves(axis, {name: (at, np.transpose(curves)) for name, curves in values.items()})
        plots.label_lines(figure, axis, lines)
    plots.save(figure, path)


def draw_embeddings(results: entry.Results, features: str, path: Path, count: int = 12) -> int:
    """Maps of the embeddings of some test identities, by the first training of each method.

    Returns:
        How many identities there are.
    """
    chosen = np.zeros(0)
    points = {}
    for trial in results.trials:
        kind = method_of(trial.name)
        if kind in points:
            continue
        query, gallery = load_embeddings(results.run / trial.name / features)
        known = np.unique(query.identities)
        chosen = known[np.linspace(0, len(known) - 1, min(count, len(known))).astype(int)]
        parts = [part.take(np.isin(part.identities, chosen)) for part in (query, gallery)]
        vectors = np.concatenate([part.features for part in parts])
        identities = np.concatenate([part.identities for part in parts])
        points[kind] = plots.in_plane(vectors)
    plots.embeddings(path, points, identities, columns=2)
    return len(chosen)


def draw_similarity(
    model: keras.Model,
    query: Embeddings,
    gallery: Embeddings,
    scores: Scores,
    data: person_reid.ReIDData,
    image_size: tuple[int, int],
    path: Path,
    count: int = 8,
) -> None:
    """Draws `similarity_maps` of queries and their nearest images, over the images in gray."""
    order = np.argsort(scores.average_precision, kind="stable")
    chosen = scores.valid_queries[order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)]]
    first = search(query.take(chosen), gallery, 1, protocol=protocol_of(query))
    nearest = first.indices[:, 0]
    pairs = [
        np.stack([images.read_image(file, image_size) for file in table.path.iloc[rows]])
        for table, rows in ((data.query, chosen), (data.gallery, nearest))
    ]
    maps = similarity_maps(model, pairs[0], pairs[1])
    rows: Mapping[str, np.ndarray] = {
        "query": pairs[0] / 255,
        "query: parts": _overlaid(pairs[0], maps[0]),
        "nearest": pairs[1] / 255,
        "nearest: parts": _overlaid(pairs[1], maps[1]),
    }
    right = gallery.identities[nearest] == query.identities[chosen]
    titles = [f"{'✓' if match else '✗'} {1 - d:.3f}" for match, d in zip(right, first.distances[:, 0])]
    plots.image_rows(path, rows, titles)


def _overlaid(pictures: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 3) uint8 in gray, tinted by maps (N, h, w), from none to their maxima: in [0, 1]."""
    tinted = []
    for picture, places in zip(pictures, maps):
        heat = np.clip(cv2.resize(places, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC), 0, None)
        heat = (heat / max(heat.max(), 1e-12))[..., np.newaxis]
        gray = np.repeat(picture.mean(axis=2, keepdims=True) / 255, 3, axis=2)
        tinted.append((1 - 0.7 * heat) * gray + 0.7 * heat * colormaps["inferno"](heat[..., 0])[..., :3])
    return np.stack(tinted)
