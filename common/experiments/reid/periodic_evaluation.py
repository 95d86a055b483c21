"""Scores of a re-identification network on the test images while it trains."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from common.datasets import person_reid, pipeline
from common.datasets.images import boxes_of
from common.experiments.checkpoint import is_due
from common.experiments.reid.config import ReIDConfig
from common.experiments.reid.scores import as_embeddings, protocol_of
from common.retrieval import Embeddings, score

TEST_MAP = "test_mAP"
# Features at or below it carry nothing: zero, or the floor of the generalized mean.
_DEAD = 1e-5
_LOST = 0.99  # share of features at the bounds that leaves a branch nothing to learn with


class PeriodicEvaluation(keras.callbacks.Callback):
    """Adds to the logs of every so many epochs, and of the last one, what the network does on the test images.

    `test_mAP`, by cosine distance and without re-ranking. And for each branch the shares of its features in the gallery
    that are at the bounds of the clip: `BRANCH_saturated` at 1, `BRANCH_dead` at 0.

    The network is only read, so a training is the same with and without it.

    Args:
        embedder: images (B, H, W, 3) uint8 -> the branches' embeddings, concatenated (B, D).
        data: whose query and gallery images are used, without junk.
        config: of the run.
        label: of the training, for the screen.
        epochs: total number.
    """

    def __init__(self, embedder: keras.Model, data: person_reid.ReIDData, config: ReIDConfig, label: str, epochs: int):
        super().__init__()
        self.embedder, self.config, self.label, self.epochs = embedder, config, label, epochs
        self.query, self.gallery = data.query, data.without_junk().gallery

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None or not is_due(epoch, self.config.evaluate_every, self.epochs):
            return
        with tqdm(desc="test images", total=len(self.query) + len(self.gallery), leave=False, disable=None) as bar:
            query, gallery = (self._embed(table, bar) for table in (self.query, self.gallery))
        logs[TEST_MAP] = score(query, gallery, protocol=protocol_of(query)).mean_average_precision
        logs |= clipped_shares(gallery.features, self.config.regional_branches)
        tqdm.write(f"{self.label}, epoch {epoch + 1}: mAP {100 * logs[TEST_MAP]:.1f} % on the test images")

    def _embed(self, table: pd.DataFrame, bar: tqdm) -> Embeddings:
        features = pipeline.predict(
            self.embedder,
            table.path,
            boxes=boxes_of(table),
            image_size=self.config.image_size,
            callbacks=[_Progress(bar)],
        )
        return as_embeddings(features, table)


def check_branches(log: pd.DataFrame, folder: Path) -> None:
    """Looks at what a stage has left of each branch, by the last row of its log.

    Args:
        log: as of `training.fit`.
        folder: of the stage, for the sentence.

    Raises:
        ValueError: nearly all features of a branch are at the bounds of the clip. No gradient comes back through these,
            so the branch would stay at chance.
    """
    last = log.iloc[-1]
    for branch in (name.removesuffix("_dead") for name in last.index if name.endswith("_dead")):
        dead, saturated = last[f"{branch}_dead"], last[f"{branch}_saturated"]
        if dead + saturated > _LOST:
            raise ValueError(
                f"The branch {branch!r} in {folder} learns nothing any more: of its features {dead:.0%} are 0 and "
                f"{saturated:.0%} are clipped to 1. Lower --learning-rate or --frozen-epochs, or the backbone's "
                "feature_scale, under another --name."
            )


def clipped_shares(features: np.ndarray, regional_branches: bool) -> dict[str, float]:
    """The shares of features at the bounds of the clip to [0, 1], by branch.

    Args:
        features: (N, D); D is C, or C + C/2 + C/2 with the regional branches (`reid.branch_maps`).
        regional_branches: whether there are such.
    """
    half = features.shape[1] // 2
    parts = {"global": features}
    if regional_branches:
        parts = dict(zip(("global", "upper", "lower"), np.split(features, [half, half + half // 2], axis=1)))
    shares = {}
    for branch, part in parts.items():
        shares[f"{branch}_saturated"] = float(np.mean(part == 1))
        shares[f"{branch}_dead"] = float(np.mean(part <= _DEAD))
    return shares


class _Progress(keras.callbacks.Callback):
    def __init__(self, bar: tqdm):
        super().__init__()
        self._bar = bar

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            self._bar.update(len(logs["outputs"]))
