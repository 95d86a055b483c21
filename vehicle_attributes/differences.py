"""Which differences between trainings, or between ways to use one, the test images and seeds decide.

NOTE: classes are not resampled, as there are few of them. So an interval is about other images of these classes and
other trainings, and not about other classes.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from common.datasets.image_folder import LabeledImages
from common.experiments import entry
from common.experiments.identity import cached_json
from common.statistics import paired_difference

from .config import UNTRAINED, Config
from .open_set.measure import RETRAINED, WAYS
from .open_set.split import held_out_classes

# Of each training: name -> (Q,) whether a test image is right, or in which share of the draws of exemplars.
CORRECT = "correct.npz"
NEAREST, CLASSIFIER = "nearest", "classifier"
PAPER_LOSS = "cross_entropy"  # whose embedding is compared with the classifiers that are trained anew

Correct = Mapping[str, Mapping[int, np.ndarray]]  # name in the file -> seed -> (Q,)


def differences(results: entry.Results) -> list[dict[str, Any]]:
    """The paired differences in accuracy of a run, over seeds and test images; cached in its folder.

    A pair with fewer than two seeds in common has none: the next training may come out otherwise.

    Returns:
        For each pair: `loss` and `way` say what is compared, `against` with what: another loss in the same way, or
        another way of the same loss; `trainings` of each, and `value`, `low` and `high` as of an `Interval`. If classes
        are held out, also `part`, the test images' classes, "new" or "old", and `added`; else the `attribute`.
    """
    files = [results.run / trial.name / CORRECT for trial in results.trials]

    def make() -> dict[str, Any]:
        correct: dict[str, dict[str, dict[int, np.ndarray]]] = {}
        for trial, path in zip(results.trials, files):
            with np.load(path) as file:
                for name in file.files:
                    correct.setdefault(trial.loss, {}).setdefault(name, {})[trial.seed] = file[name]
        compare = _open_set if results.config.held_out else _losses
        return {"differences": list(compare(results.config, correct, results.data))}

    return cached_json(results.run / "differences.json", files, __name__, make)["differences"]


def _losses(config: Config, correct: Mapping[str, Correct], data: LabeledImages) -> Iterator[dict[str, Any]]:
    """Each loss against those before it, and nearest exemplars against the classifier of the same training."""
    for attribute in config.attributes:
        nearest, classifier = (f"{attribute}_{way}" for way in (NEAREST, CLASSIFIER))
        pairs = [(second, NEAREST, first) for first, second in combinations(config.losses, 2)]
        pairs += [(loss, NEAREST, CLASSIFIER) for loss in config.losses]
        for loss, way, against in pairs:
            own = correct.get(loss, {})
            other = own.get(classifier, {}) if against == CLASSIFIER else correct.get(against, {}).get(nearest, {})
            if number := _difference(own.get(nearest, {}), other):
                yield {"attribute": attribute, "loss": loss, "way": way, "against": against, **number}


def _open_set(config: Config, correct: Mapping[str, Correct], data: LabeledImages) -> Iterator[dict[str, Any]]:
    """Each way against the publication's and against retrained classifiers; each loss against the untrained network.

    The latter with as many exemplars of each class, on new classes.
    """
    labels, true = (table[config.attributes[-1]].to_numpy() for table in (data.train, data.test))
    new = {seed: np.isin(true, held_out_classes(config, seed, labels)) for seed in config.seeds}
    pairs = [(PAPER_LOSS, way, other) for other in (RETRAINED, "gallery") for way in WAYS if way != other]
    pairs += [(loss, "balanced", UNTRAINED) for loss in config.losses if loss != UNTRAINED]
    for loss, way, against in pairs:
        source, other = (UNTRAINED, way) if against == UNTRAINED else (loss, against)
        for part in ("new",) if against == UNTRAINED else ("new", "old"):
            for added in config.added:
                sides = [
                    {
                        seed: np.where(new[seed] == (part == "new"), values, np.nan)
                        for seed, values in correct.get(name, {}).get(f"{kind}_{added}", {}).items()
                    }
                    for name, kind in ((loss, way), (source, other))
                ]
                if number := _difference(*sides):
                    yield {"loss": loss, "way": way, "against": against, "part": part, "added": added, **number}


def _difference(first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray]) -> dict[str, Any] | None:
    """Over the seeds that both have, and None with fewer than two of them."""
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return None
    interval = paired_difference(*(np.stack([side[seed] for seed in seeds]) for side in (first, second)))
    return {"trainings": len(seeds), **vars(interval)}
