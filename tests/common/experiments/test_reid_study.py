"""Differences between trainings, and the control that is not trained."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from common.experiments.reid import study
from common.experiments.reid.config import ReIDConfig
from common.experiments.reid.data import read
from common.statistics import paired_difference
from tests.common import known_people

pytestmark = pytest.mark.filterwarnings("ignore:.*scores on it do not compare with published ones")


def record(seed, values, queries=(1, 3, 2)):
    return {"seed": seed, "identity_AP": list(values), "identity_queries": list(queries)}


FIRST = [record(0, [0.5, 0.6, 0.9]), record(1, [0.7, 0.6, 0.8]), record(2, [0.0, 0.0, 0.0])]
SECOND = [record(1, [0.6, 0.5, 0.9]), record(0, [0.5, 0.3, 0.6])]


def test_a_difference_is_over_queries_of_common_seeds():
    """By query, seed 0: 0, three of 0.3, two of 0.3; seed 1: 0.1, three of 0.1, two of -0.1."""
    interval = study.difference(FIRST, SECOND)
    assert interval.value == pytest.approx((1.5 + 0.2) / 12)
    items = [[0.0, 0.3, 0.3, 0.3, 0.3, 0.3], [0.1, 0.1, 0.1, 0.1, -0.1, -0.1]]
    expected = paired_difference(items, np.zeros((2, 6)), [0, 1, 1, 1, 2, 2])
    assert vars(interval) == pytest.approx(vars(expected))


@pytest.mark.parametrize("other", [[record(7, [0.1, 0.2, 0.3])], [record(0, [0.1, 0.2, 0.3], (1, 3, 1))]])
def test_other_seeds_or_test_sets_are_refused(other):
    with pytest.raises(ValueError, match="Paired records need common seeds and one test set"):
        study.difference(FIRST, other)


def test_one_training_decides_nothing():
    better, worse = [record(0, [0.9, 0.9, 0.9])], [record(0, [0.1, 0.1, 0.1])]
    table = study.difference_table({"a": better, "b": worse}, [("a", "b"), ("a", "c")], {"a": "A", "b": "B"})
    ((*_, trainings, verdict),) = known_people.cells(table, {"A against B"})
    assert (trainings, verdict) == ("1", "undecided: one training")
    assert study.difference_table({"a": better, "b": []}, [("a", "b")], {}) == ""


def test_trainings_without_a_common_seed_decide_nothing_and_others_do_not_count():
    """Of seeds 0, 1 and 2, and of 1 and 7, only 1 is in pairs: 80 against 30 %."""

    def trained(seed, share):
        return {**record(seed, [share] * 3), "mAP": share, "converged": True}

    first = [trained(seed, share) for seed, share in enumerate((0.1, 0.8, 0.2))]
    pair = study.finding("better", first, [trained(1, 0.3), trained(7, 0.9)], "people", "`make`")
    assert pair.measured.endswith("points of mAP: 80.0 against 30.0 %") and pair.on == "people, 1 training of each"
    other = [trained(7, 0.9)]
    assert study.difference_table({"a": first, "b": other}, [("a", "b")], {}) == ""
    assert study.finding("better", first, other, "people", "`make`").verdict == "not run"


def test_the_control_is_the_backbone_that_trainings_begin_with(tmp_path, monkeypatch):
    """Pooled maps of its last block, by cosine; the query and gallery images are those of a run."""
    folder = known_people.draw(tmp_path / "people")
    backbone = known_people.backbone()
    monkeypatch.setattr(study, "build_backbone", lambda *_: backbone)
    config = ReIDConfig(dataset="market1501", data_dir=folder, image_size=known_people.SIZE)

    def pooled(image):
        maps = backbone.last_block(backbone.trunk(image[np.newaxis].astype("uint8")))
        return np.mean(keras.ops.convert_to_numpy(maps)[0], axis=(0, 1))

    parts = [known_people.embedded(folder, split, pooled) for split in ("query", "bounding_box_test")]
    record = study.untrained_record(config, read(config).without_junk())
    known_people.assert_record(record, known_people.scores(*parts))


def test_a_control_of_random_weights_is_a_function_of_the_first_seed(tmp_path):
    """Evaluations that a kill has parted report one and the same."""
    config = ReIDConfig(
        dataset="market1501", data_dir=known_people.draw(tmp_path / "people"), image_size=known_people.SIZE,
        backbone="small_resnet", weights="none", seeds=(3, 4),
    )  # fmt: skip
    data = read(config).without_junk()
    again, *others = [study.untrained_record(replace(config, seeds=seeds), data) for seeds in ((3, 4), (3,), (4, 3))]
    assert again == others[0] != others[1]
