"""The report of a run of re-identification: tables, ranked lists, training curves."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from common.datasets import images, person_reid
from common.datasets.images import boxes_of
from common.experiments import entry
from common.experiments.config import RunConfig
from common.experiments.reid.figures import (
    EMBEDDINGS,
    RETRIEVAL,
    SIMILARITY,
    draw_embeddings,
    draw_retrieval,
    draw_similarity,
)
from common.experiments.reid.periodic_evaluation import TEST_MAP
from common.experiments.reid.scores import protocol_of
from common.report import page_parts, plots, tables
from common.retrieval import (
    Embeddings,
    Scores,
    load_embeddings,
    score,
    score_by_camera_pair,
    search,
)
from common.retrieval.metrics import rank
from common.retrieval.report import ranked_lists

RANKED_LISTS, TRAINING = "figures/ranked_lists.png", "figures/loss.png"
CURVES = {"loss": "training loss", TEST_MAP: "mAP on the test images", "penalty": "penalty"}
TRAINING_TEXT = "Training loss with its penalty, mAP on the test images, and the penalty alone. Thin lines are seeds."
LISTS = (
    "Queries and their nearest images with cosine distances: ✓ and blue, the same person; ✗ and vermilion, another. On "
    "the left queries of average precision (AP) as most have it, on the right those of the lowest."
)
UNTRAINED = "untrained.json"  # in a run folder: the scores of the weights that its trainings begin with


def reid_report(
    results: entry.Results,
    table: str,
    differences: str,
    features: str,
    captions: Mapping[str, str],
    model: keras.Model,
) -> tables.Report:
    """The report of a run: its tables, mAP per camera pair, and the figures of both projects and of the own one.

    Args:
        results: of the run; camera pairs and ranked lists are those of its last training.
        table: the main table, in Markdown.
        differences: the table of differences between methods; may be empty.
        features: name of the file of embeddings in the folder of a training.
        captions: of the figures that the project itself has written, by path.
        model: of the last training: images (B, H, W, 3) uint8 -> embeddings (B, D) of single images.
    """
    config, last = results.config, results.trials[-1].name
    query, gallery = load_embeddings(results.run / last / features)
    scores = score(query, gallery, protocol=protocol_of(query))
    draw_ranked_lists(query, gallery, scores, results.data, results.run / RANKED_LISTS)
    plots.training_curves(results.run, results.trials, CURVES)
    draw_retrieval(results, features, results.run / "figures/retrieval.png")
    identities = draw_embeddings(results, features, results.run / "figures/embeddings.png")
    similarity = results.run / "figures/similarity.png"
    draw_similarity(model, query, gallery, scores, results.data, config.image_size, similarity)
    best = ", the one with the best test mAP" if config.choose_epoch == "best_test" else ""
    sections = {results.heading: table}
    if differences:
        sections["Differences, with 95 % intervals over test identities and seeds"] = differences
    if query.cameras is not None:
        sections[f"mAP (%) per camera pair, double images, {last}"] = camera_table(query, gallery)
    captions = {
        **captions,
        TRAINING: TRAINING_TEXT,
        RANKED_LISTS: f"{LISTS} Double images, {last}.",
        "figures/retrieval.png": RETRIEVAL,
        "figures/embeddings.png": EMBEDDINGS.format(identities),
        "figures/similarity.png": f"{SIMILARITY} Single images, {last}.",
    }
    return tables.Report(
        f"{config.name}: {config.backbone} on {config.dataset}, {config.frozen_epochs} + {config.epochs} epochs{best}",
        sections,
        captions,
        parts=[lists_to_browse(f"Ranked lists, double images, {last}", query, gallery, results.data)],
    )


def publish(
    project: Path, presets: Mapping[str, tuple[str, RunConfig]], results: entry.Results, figures: Collection[str]
) -> None:
    """Writes a run's numbers to a project's `results.json`, and copies figures of synthetic people next to it.

    Photographs of people are not ours to hand on.
    """
    file, more = results.run / UNTRAINED, {}
    if file.exists():  # not of attacks on such networks
        more["untrained"] = json.loads(file.read_text(encoding="utf-8"))
        more["untrained"].pop("made_from", None)
    tables.publish(project, presets, results.config, results.records, more=more)
    if results.config.dataset == "synthetic":
        tables.copy_figures(results.run, project, figures)


def camera_table(query: Embeddings, gallery: Embeddings) -> str:
    """mAP of the queries of each camera against the gallery images of each other camera."""
    pairs = score_by_camera_pair(query, gallery).pivot(index="query_camera", columns="gallery_camera", values="mAP")
    rows = [
        [camera, *(None if np.isnan(value) else f"{100 * value:.1f}" for value in values)]
        for camera, values in zip(pairs.index, pairs.to_numpy())
    ]
    return tables.table(["query camera", *(f"gallery camera {camera}" for camera in pairs.columns)], rows)


def lists_to_browse(
    heading: str, query: Embeddings, gallery: Embeddings, data: person_reid.ReIDData
) -> page_parts.RankedLists:
    """Queries and their nearest images of other cameras or identities, with the pictures of the data set's tables."""
    query, gallery = (replace(part, paths=of.path) for part, of in ((query, data.query), (gallery, data.gallery)))
    protocol, boxes = protocol_of(query), (boxes_of(data.query), boxes_of(data.gallery))
    results = rank(query, gallery, protocol)
    return ranked_lists(heading, query, gallery, protocol, results, boxes=boxes, figures=[RANKED_LISTS])


def draw_ranked_lists(
    query: Embeddings,
    gallery: Embeddings,
    scores: Scores,
    data: person_reid.ReIDData,
    file: Path,
    count: int = 3,
    depth: int = 5,
) -> None:
    """Draws queries of middle AP, and of the identities with the lowest one their worst, with the nearest images."""
    precision = pd.Series(scores.average_precision, index=scores.valid_queries).sort_values(kind="stable")
    middle = precision.index[(np.linspace(0.25, 0.75, count) * (len(precision) - 1)).round().astype(int)]
    lowest = precision.index[~pd.Series(query.identities[precision.index]).duplicated()][:count]
    columns = {"typical queries": middle, "queries with the lowest AP": lowest}
    lists: dict[str, list[plots.RankedList]] = {}
    for heading, chosen in columns.items():
        nearest = search(query.take(chosen), gallery, min(depth, len(gallery)), protocol=protocol_of(query))
        for i, indices, distances in zip(chosen, nearest.indices, nearest.distances):
            indices, distances = indices[indices >= 0], distances[indices >= 0]
            paths = [data.query.path.iloc[i], *data.gallery.path.iloc[indices]]
            pictures = [images.read_image(path, (128, 64)) for path in paths]
            right = gallery.identities[indices] == query.identities[i]
            ranked = plots.RankedList(pictures, right, distances, f"AP {100 * precision[i]:.0f} %")
            lists.setdefault(heading, []).append(ranked)
    plots.ranked_lists(file, lists)
