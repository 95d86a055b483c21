"""Embeddings of a trained network, their scores, and cells of tables."""

from collections.abc import Sequence
from typing import Any

import keras
import pandas as pd

from common.datasets import pipeline
from common.datasets.images import boxes_of
from common.report import tables
from common.retrieval import (
    Embeddings,
    Protocol,
    Scores,
    confidence_interval,
)

SCORE_COLUMNS = ("mAP (%)", "rank-1 (%)", "rank-5 (%)", "rank-10 (%)", "mINP (%)")


def embed(model: keras.Model, table: pd.DataFrame, image_size: tuple[int, int]) -> Any:
    """The `Embeddings` of images by each output of a model, in the structure of its outputs.

    Args:
        model: images (B, H, W, 3) uint8 -> embeddings (B, D), or a dictionary of such.
        table: N rows with columns path and identity, and those of camera and of boxes that there are.
        image_size: (H, W).
    """
    outputs = pipeline.predict(model, table.path, boxes=boxes_of(table), image_size=image_size)
    return keras.tree.map_structure(lambda features: as_embeddings(features, table), outputs)


def as_embeddings(features: Any, table: pd.DataFrame) -> Embeddings:
    """Features (N, D) with the identities of a table's rows, and their cameras where it has such a column."""
    cameras = table["camera"].to_numpy() if "camera" in table else None
    return Embeddings(features, table["identity"].to_numpy(), cameras)


def protocol_of(images: Embeddings) -> Protocol:
    """That of person re-identification; where there are no cameras, all images of other files count."""
    return Protocol(same_camera=images.cameras is None)


def score_record(scores: Scores, query: Embeddings, prefix: str = "") -> dict[str, Any]:
    """The numbers of a ranking; all shares are in [0, 1].

    `identity_AP` is the mean AP of the queries of each test identity, in the order of their numbers, and
    `identity_queries`, without a prefix, how many those are: what paired intervals are made of.
    """
    intervals = confidence_interval(scores, query.identities).drop(["R-precision", "MAP@R"])
    record: dict[str, Any] = {name.replace("-", ""): float(value) for name, value in intervals["score"].items()}
    record["mAP_interval"] = [float(value) for value in intervals.loc["mAP", ["low", "high"]]]
    groups = pd.Series(scores.average_precision).groupby(query.identities[scores.valid_queries])
    record["identity_AP"] = groups.mean().round(3).tolist()
    return {prefix + name: value for name, value in record.items()} | {"identity_queries": groups.size().tolist()}


def score_cells(records: Sequence[dict[str, Any]], prefix: str = "") -> list[str | None]:
    """The cells of `SCORE_COLUMNS` over trainings, in %, from their `score_record`s."""
    names = ("mAP", "rank1", "rank5", "rank10", "mINP")
    return [tables.mean_std([100 * record[prefix + name] for record in records], 1) for name in names]


def interval_cell(record: dict[str, Any], prefix: str = "") -> str:
    """The 95 % interval of a training's mAP over the test identities, in %."""
    low, high = record[f"{prefix}mAP_interval"]
    return f"{100 * low:.1f} to {100 * high:.1f}"
