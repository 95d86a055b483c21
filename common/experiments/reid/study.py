"""What lets an experiment in re-identification decide: an untrained control, paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from common.backbones import Backbone, build_backbone
from common.datasets import person_reid
from common.experiments import entry
from common.experiments.identity import cached_json
from common.experiments.reid.config import ReIDConfig
from common.experiments.reid.report import UNTRAINED
from common.experiments.reid.scores import embed, protocol_of, score_record
from common.random_state import seeded
from common.report import pages, tables
from common.retrieval import score
from common.statistics import Interval, paired_difference

UNTRAINED_NAME = "untrained: ImageNet's features, pooled"
DIFFERENCE_COLUMNS = ("compared", "difference in mAP (points)", "trainings of each", "verdict")


def untrained_record(config: ReIDConfig, data: person_reid.ReIDData) -> dict[str, Any]:
    """The scores of the backbone's pooled features (N, C) with the weights that trainings begin with.

    Without pretrained weights they are random, a function of the first seed.
    """
    with seeded(config.seeds[0]):
        backbone = build_backbone(config.backbone, config.image_size, config.weights)
    model = pooled(backbone)
    query, gallery = (embed(model, table, config.image_size) for table in (data.query, data.gallery))
    return score_record(score(query, gallery, protocol=protocol_of(query)), query)


def pooled(backbone: Backbone) -> keras.Model:
    """Images (B, H, W, 3) uint8 -> the mean over a backbone's feature maps, (B, C) float32."""
    image = keras.Input(backbone.image_shape, dtype="uint8")
    maps = backbone.last_block(backbone.trunk(image))  # (B, H/16, W/16, C)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D(dtype="float32")(maps))


def untrained(results: entry.Results) -> dict[str, Any]:
    """The `untrained_record` of a run; cached in its folder."""
    return cached_json(results.run / UNTRAINED, [], __name__, lambda: untrained_record(results.config, results.data))


def difference(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> Interval:
    """By how much the mAP of trainings is higher than that of others, over the seeds that both have.

    The interval is over test identities and seeds, in pairs (`common.statistics.paired_difference`).

    Args:
        first: records with `seed`, `identity_AP` and `identity_queries` as of `score_record`, one per seed.
        second: those of the other method, on the same test images.

    Raises:
        ValueError: they have no seed in common, or other test identities.
    """
    by_seed = [{record["seed"]: record for record in records} for records in (first, second)]
    seeds = _common_seeds(first, second)
    counts = {tuple(records[seed]["identity_queries"]) for records in by_seed for seed in seeds}
    if len(counts) != 1:
        raise ValueError(
            f"Paired records need common seeds and one test set, got seeds {seeds} and {len(counts)} sets."
        )
    values = [np.array([records[seed]["identity_AP"] for seed in seeds]) for records in by_seed]  # (S, I) each
    (queries,) = counts
    # A query counts once, as in mAP: an identity as often as it has queries.
    items = np.repeat(np.arange(len(queries)), queries)
    return paired_difference(values[0][:, items], values[1][:, items], items)


def _common_seeds(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[int]:
    return sorted({record["seed"] for record in first} & {record["seed"] for record in second})


def difference_table(
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    pairs: Sequence[tuple[str, str]],
    names: Mapping[str, str],
) -> str:
    """The Markdown table of the differences between those pairs of methods that have records of common seeds.

    One training of each decides nothing: the next one may come out otherwise.

    Args:
        records: method -> its records.
        pairs: of methods, the better one by the publication first.
        names: method -> how a reader knows it.
    """
    rows = []
    for first, second in pairs:
        if seeds := _common_seeds(records.get(first, ()), records.get(second, ())):
            interval = difference(records[first], records[second])
            verdict = interval.verdict if len(seeds) > 1 else "undecided: one training"
            rows.append([f"{names[first]} against {names[second]}", interval.text(), len(seeds), verdict])
    return tables.table(DIFFERENCE_COLUMNS, rows) if rows else ""


def finding(
    claim: str,
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    data: str,
    command: str,
    expected: str = "higher",
) -> pages.Finding:
    """What trainings of two methods say of a claim about their mAP, by the seeds that both have.

    Args:
        claim: in a few words, of the `first` method against the `second`.
        first: records as of `difference`, with `mAP` and `converged`.
        second: those of the other method.
        data: name of the data set.
        command: makes the numbers, in Markdown.
        expected: as of `pages.verdict`.
    """
    seeds = _common_seeds(first, second)
    if not seeds:
        return pages.Finding.not_run(claim, data, command)
    interval = difference(first, second)
    paired = [[record for record in records if record["seed"] in seeds] for records in (first, second)]
    means = [tables.mean_std([100 * record["mAP"] for record in records], 1) for records in paired]
    measured = f"{interval.text()} points of mAP: {means[0]} against {means[1]} %"
    on = f"{data}, {len(seeds)} training{'s' if len(seeds) > 1 else ''} of each"
    verdict = pages.verdict(interval, len(seeds), expected)
    if not all(record["converged"] for records in paired for record in records):
        verdict = f"{verdict}, not converged"
    return pages.Finding(claim, verdict, measured, on, command)
