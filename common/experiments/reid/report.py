"""The report of a run of re-identification: tables, ranked lists, learning curves."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.datasets import images, person_reid
from common.datasets.images import boxes_of
from common.experiments import entry
from common.experiments.config import RunConfig
from common.experiments.reid.scores import protocol_of
from common.report import page_parts, plots, tables
from common.retrieval import (
    Embeddings,
    load_embeddings,
    score_by_camera_pair,
    search,
)
from common.retrieval.metrics import rank
from common.retrieval.report import ranked_lists

RANKED_LISTS, LEARNING_CURVES = "figures/ranked_lists.png", "figures/learning_curves.png"
UNTRAINED = "untrained.json"  # in a run folder: the scores of the weights that its trainings begin with


def reid_report(
    results: entry.Results, table: str, differences: str, features: str, captions: Mapping[str, str]
) -> tables.Report:
    """The report of a run: its tables, mAP per camera pair, ranked lists, learning curves, and the project's figures.

    Args:
        results: of the run; camera pairs and ranked lists are those of its last training.
        table: the main table, in Markdown.
        differences: the table of differences between methods; may be empty.
        features: name of the file of embeddings in the folder of a training.
        captions: of the figures that the project itself has written, by path.
    """
    config, last = results.config, results.trials[-1].name
    query, gallery = load_embeddings(results.run / last / features)
    draw_ranked_lists(query, gallery, results.data, results.run / RANKED_LISTS)
    best = ", the one with the best test mAP" if config.choose_epoch == "best_test" else ""
    lists = f"Queries (orange) and the nearest images, right (green) or wrong (red), double images, {last}."
    sections = {results.heading: table}
    if differences:
        sections["Differences, with 95 % intervals over test identities and seeds"] = differences
    if query.cameras is not None:
        sections[f"mAP (%) per camera pair, double images, {last}"] = camera_table(query, gallery)
    captions = {**captions, RANKED_LISTS: lists}
    if results.records[0]["curve"]:
        looks = {trial.name: record["curve"] for trial, record in zip(results.trials, results.records)}
        at = [int(epoch) for epoch in results.records[0]["curve"]]
        values = {name: list(curve.values()) for name, curve in looks.items()}
        plots.curves(results.run / LEARNING_CURVES, values, "epoch", "mAP on the test images", "linear", at=at)
        captions[LEARNING_CURVES] = "mAP while training, single images."
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
    query: Embeddings, gallery: Embeddings, data: person_reid.ReIDData, file: Path, count: int = 6, depth: int = 5
) -> None:
    """Draws queries spread over the test identities, each with its nearest images of other cameras or identities."""
    chosen = np.linspace(0, len(query) - 1, count).astype(int)
    rows, matches = [], []
    for i, nearest in zip(
        chosen, search(query.take(chosen), gallery, min(depth, len(gallery)), protocol=protocol_of(query)).indices
    ):
        nearest = nearest[nearest >= 0]
        paths = [data.query.path.iloc[i], *data.gallery.path.iloc[nearest]]
        rows.append([images.read_image(path, (128, 64)) for path in paths])
        matches.append(gallery.identities[nearest] == query.identities[i])
    plots.ranked_lists(file, rows, matches)
