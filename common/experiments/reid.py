"""What the re-identification projects share: branches of the network, training in two stages, scores, the report."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import keras
import numpy as np
import pandas as pd
from keras import layers

from common import distribution
from common.backbones import Backbone
from common.datasets import images, person_reid, pipeline, sampler
from common.datasets.augmentation import Augmentation
from common.experiments import entry
from common.experiments.checkpoint import BEST_WEIGHTS, check_stamps
from common.experiments.config import ReIDConfig, RunConfig, to_json
from common.experiments.identity import IDENTITY, WRITTEN, identity_of, read_identity, settings_of, summaries
from common.experiments.image_training import fit_on_images
from common.experiments.periodic_evaluation import TEST_MAP, PeriodicEvaluation, check_branches
from common.files import write_json
from common.report import plots, tables
from common.retrieval import (
    Embeddings,
    Scores,
    confidence_interval,
    load_embeddings,
    score_by_camera_pair,
    search,
)

RANKED_LISTS, LEARNING_CURVES = "figures/ranked_lists.png", "figures/learning_curves.png"
UNTRAINED = "untrained.json"  # in a run folder: the scores of the weights that its trainings begin with
SCORE_COLUMNS = ("mAP (%)", "rank-1 (%)", "rank-5 (%)", "rank-10 (%)", "mINP (%)")


@dataclass(frozen=True)
class Arguments(entry.Arguments):
    """Evaluates a run and prints the table «paper | this run»."""

    dataset: Literal["synthetic", "market1501", "duke", "msmt17"] | None = None  # to evaluate on another, with data-dir


class TrainableNetwork(Protocol):
    """Graphs over the same layers, as the projects build them."""

    @property
    def training_model(self) -> keras.Model: ...

    @property
    def frozen_blocks(self) -> tuple[keras.Model, ...]: ...


def read(config: ReIDConfig) -> person_reid.ReIDData:
    """The data set of a run."""
    data = person_reid.read(config.dataset, config.data_dir, identities=config.people)
    return person_reid.hold_out(data, config.held_out) if config.held_out else data


def describe(config: ReIDConfig, data: person_reid.ReIDData) -> str:
    """What and how much is trained on."""
    return (
        f"{config.dataset}, {len(data.train):,} images of {data.train.identity.nunique():,} people, "
        f"{len(data.query):,} queries, {len(data.gallery):,} in the gallery, {config.frozen_epochs} + {config.epochs} "
        "epochs"
    )


def on_another_set(run: Path, config: ReIDConfig, arguments: Arguments) -> Path:
    """The run itself; or `on-DATASET` in it, a run of the same weights on the data set that the arguments name.

    Raises:
        ValueError: numbers on another set are to be published, or as of `read`.
    """
    if arguments.dataset in (None, config.dataset):
        return run
    if arguments.publish:
        raise ValueError(f"Numbers on {arguments.dataset} are of no row of the publication; leave out --publish.")
    other = replace(config, dataset=arguments.dataset, data_dir=arguments.data_dir, held_out=0)
    before, settings = read_identity(run) or identity_of(config), settings_of(to_json(other), type(other))
    folder = run / f"on-{arguments.dataset}"
    folder.mkdir(exist_ok=True)
    trained = {"trained_on": before.get("trained_on", before["data"])}
    write_json(folder / IDENTITY, {**before, **settings, "data": summaries(read(other)), **trained})
    write_json(folder / "config.json", to_json(other))
    check_stamps([run / path.parent.name for path in run.glob(f"*/{BEST_WEIGHTS}")])
    for path in run.glob(f"*/{BEST_WEIGHTS}"):
        for name in (BEST_WEIGHTS, "log.csv", WRITTEN):
            link = folder / path.parent.name / name
            if path.with_name(name).is_file() and not link.exists():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(Path("../..") / path.parent.name / name)  # goes on to hold where the run is moved
    return folder


def check(config: ReIDConfig, strategy: distribution.Strategy) -> None:
    """Raises ValueError where a batch cannot be split over the devices, or several processes would evaluate."""
    sampler.check_parts(config.identities_per_batch, strategy.num_replicas_in_sync)
    if config.evaluate_every and strategy.cluster_resolver is not None:
        raise ValueError(
            f"The test images are looked at by one process, but evaluate_every is {config.evaluate_every} and the "
            "strategy has several; pass --evaluate-every 0 --choose-epoch last, or --strategy one or mirrored."
        )


def branch_maps(backbone: Backbone, image, regional_branches: bool) -> tuple[dict, tuple[keras.Model, ...]]:
    """The feature maps of each branch (Publications I and II, Fig. 1).

    Args:
        backbone: gives (B, H/16, W/16, C) feature maps.
        image: (B, H, W, 3).
        regional_branches: whether there are branches "upper" and "lower" too, on halves of the maps.

    Returns:
        Branch -> its maps: (B, H/16, W/16, C), of the regional ones (B, H/32, W/16, C/2); and the pretrained models
        behind them.
    """
    features = backbone.trunk(image)  # (B, H/16, W/16, C')
    maps = {"global": backbone.last_block(features)}  # (B, H/16, W/16, C)
    if not regional_branches:
        return maps, backbone.blocks
    # One copy of block 5 for both regions; the global branch shares nothing with them.
    regional = backbone.copy_of_last_block("regional_block")
    whole = regional(features)
    half = whole.shape[1] // 2
    for region, part in (("upper", whole[:, :half]), ("lower", whole[:, half:])):  # (B, H/32, W/16, C)
        reduce = layers.Conv2D(whole.shape[-1] // 2, 3, padding="same", activation="relu", name=f"{region}_reduced")
        maps[region] = reduce(part)  # (B, H/32, W/16, C/2)
    return maps, (*backbone.blocks, regional)


def identity_logits(branch: str, embedding, num_identities: int):
    """The classifier of a branch: embedding (B, D) -> logits (B, identities), all of it in float32."""
    normalized = layers.BatchNormalization(epsilon=2e-5, dtype="float32", name=f"{branch}_bn")(embedding)
    initializer = keras.initializers.RandomNormal(stddev=0.001)
    return layers.Dense(
        num_identities, use_bias=False, kernel_initializer=initializer, dtype="float32", name=f"{branch}_logits"
    )(normalized)


def train_two_stages(
    config: ReIDConfig,
    model: TrainableNetwork,
    data: person_reid.ReIDData,
    folder: Path,
    *,
    seed: int,
    embedder: keras.Model,
    losses: Mapping[str, Any],
    targets: Callable[[Any], Mapping[str, Any]],
    augmentation: Augmentation,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains a network into `folder`: its new layers while the pretrained blocks are frozen, then all of them.

    Both stages follow the schedule from its beginning, so the first one is the warm-up and some epochs at the peak. The
    last weights of the second stage become its `best.weights.h5`, or those with the best test mAP (`choose_epoch`).

    Args:
        config: batches and schedule.
        model: with initial weights.
        data: whose training images are used; and its test images for the mAP in the log, if there is to be one.
        folder: of the training; the first stage has the folder `frozen` in it.
        seed: of batches and augmentation.
        embedder: the network that the test images are looked at with (`PeriodicEvaluation`).
        losses: of each output of the training graph.
        targets: labels (B,) -> what the losses compare those outputs with.
        augmentation: what may happen to an image.
        callbacks: as of `training.fit`.

    Raises:
        ValueError: after the first stage a branch cannot learn (`check_branches`). And as of `fit_on_images`.
    """
    stages = ((folder / "frozen", config.frozen_epochs, False), (folder, config.epochs, True))
    for stage, epochs, trainable in stages:
        for block in model.frozen_blocks:
            block.trainable = trainable
        evaluation = PeriodicEvaluation(embedder, data, config, stage.name, epochs)
        log = fit_on_images(
            config,
            model.training_model,
            data.train,
            np.unique(data.train.identity, return_inverse=True)[1],
            stage,
            losses=losses,
            targets=targets,
            augmentation=augmentation,
            classes_per_batch=config.identities_per_batch,
            images_per_class=config.images_per_identity,
            epochs=epochs,
            seed=seed,
            balance=config.balance,
            monitor=TEST_MAP if trainable and config.choose_epoch == "best_test" else None,
            monitor_every=config.evaluate_every,
            callbacks=[*callbacks, evaluation],
        )
        if not trainable and epochs:
            check_branches(log, stage)


def embed(model: keras.Model, table: pd.DataFrame, image_size: tuple[int, int]) -> Any:
    """The `Embeddings` of images by each output of a model, in the structure of its outputs.

    Args:
        model: images (B, H, W, 3) uint8 -> embeddings (B, D), or a dictionary of such.
        table: N rows with columns path, identity and camera.
        image_size: (H, W).
    """
    outputs = pipeline.predict(model, table.path, image_size=image_size)
    identities, cameras = table.identity.to_numpy(), table.camera.to_numpy()
    return keras.tree.map_structure(lambda features: Embeddings(features, identities, cameras), outputs)


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


def draw_ranked_lists(
    query: Embeddings, gallery: Embeddings, data: person_reid.ReIDData, file: Path, count: int = 6, depth: int = 5
) -> None:
    """Draws queries spread over the test identities, each with its nearest images of other cameras or identities."""
    chosen = np.linspace(0, len(query) - 1, count).astype(int)
    rows, matches = [], []
    for i, nearest in zip(chosen, search(query.take(chosen), gallery, min(depth, len(gallery))).indices):
        nearest = nearest[nearest >= 0]
        paths = [data.query.path.iloc[i], *data.gallery.path.iloc[nearest]]
        rows.append([images.read_image(path, (128, 64)) for path in paths])
        matches.append(gallery.identities[nearest] == query.identities[i])
    plots.ranked_lists(file, rows, matches)
