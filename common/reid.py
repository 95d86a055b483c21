"""What re-identification projects evaluate with: features of images, numbers of a ranking, table and figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from common import figures, report
from common.datasets import images, reid
from common.retrieval import Distances, Embeddings, Scores, confidence_interval, score_by_camera_pair

CODE = Path(__file__)  # the numbers that a training keeps are made from this file too
SCORE_COLUMNS = ("mAP (%)", "rank-1 (%)", "rank-5 (%)", "rank-10 (%)", "mINP (%)")


def embed(model: keras.Model, table: pd.DataFrame, image_size: tuple[int, int]) -> dict[str, Embeddings]:
    """The embeddings of images by each output of a model.

    Args:
        model: images (B, H, W, 3) uint8 -> dictionary of embeddings (B, D).
        table: N rows with columns path, identity and camera.
        image_size: (H, W).
    """
    found = images.predict(model, table.path, image_size=image_size)
    identities, cameras = table.identity.to_numpy(), table.camera.to_numpy()
    return {name: Embeddings(features, identities, cameras) for name, features in found.items()}


def score_record(scores: Scores, query: Embeddings, prefix: str = "") -> dict[str, Any]:
    """The numbers of a ranking; all shares are in [0, 1]."""
    intervals = confidence_interval(scores, query.identities)
    found = {name.replace("-", ""): float(value) for name, value in intervals["score"].items()}
    found["mAP_interval"] = [float(value) for value in intervals.loc["mAP", ["low", "high"]]]
    return {prefix + name: value for name, value in found.items()}


def score_cells(records: Sequence[dict[str, Any]], prefix: str = "") -> list[str | None]:
    """The cells of `SCORE_COLUMNS` over trainings, in %, from their `score_record`s."""
    names = ("mAP", "rank1", "rank5", "rank10", "mINP")
    return [report.mean_std([100 * record[prefix + name] for record in records], 1) for name in names]


def interval_cell(record: dict[str, Any], prefix: str = "") -> str:
    """The 95 % interval of a training's mAP over the test identities, in %."""
    low, high = record[f"{prefix}mAP_interval"]
    return f"{100 * low:.1f} to {100 * high:.1f}"


def camera_table(query: Embeddings, gallery: Embeddings) -> str:
    """mAP of the queries of each camera against the gallery images of each other camera."""
    pairs = score_by_camera_pair(query, gallery).pivot(index="query_camera", columns="gallery_camera", values="mAP")
    rows = [
        [camera, *(None if np.isnan(value) else f"{100 * value:.1f}" for value in values)]
        for camera, values in zip(pairs.index, pairs.to_numpy())
    ]
    return report.table(["query camera", *(f"gallery camera {camera}" for camera in pairs.columns)], rows)


def draw_ranked_lists(
    query: Embeddings, gallery: Embeddings, data: reid.ReIDData, path: Path, count: int = 6, depth: int = 5
) -> None:
    """Queries spread over the test identities, with the nearest images that the rules leave."""
    chosen = np.linspace(0, len(query) - 1, count).astype(int)
    distances = Distances(query.features[chosen], gallery.features, "cosine").block(slice(None))  # (count, G)
    rows, matches = [], []
    for i, row in zip(chosen, distances):
        same = gallery.identities == query.identities[i]
        ignored = same & (gallery.cameras == query.cameras[i])
        nearest = np.argsort(np.where(ignored, np.inf, row), kind="stable")[:depth]
        paths = [data.query.path.iloc[i], *data.gallery.path.iloc[nearest]]
        rows.append([images.read_image(found, (128, 64)) for found in paths])
        matches.append(same[nearest])
    figures.ranked_lists(path, rows, matches)
