"""Every number of an open set, from images to its tables, against a program of its own."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from common.experiments.run_folder import open_run
from tests.helpers import assert_figures
from tests.vehicle_attributes.colors import (
    CONFIG,
    SHIFT,
    by_logits,
    by_means,
    neighbors_of,
    points,
    rows_of,
    trained,
    write_cars,
)
from tests.vehicle_attributes.test_open_set import last_layer
from vehicle_attributes import recognizer
from vehicle_attributes.config import trials
from vehicle_attributes.data import read
from vehicle_attributes.differences import CORRECT
from vehicle_attributes.evaluate import evaluate
from vehicle_attributes.open_set.split import balanced_rows, gallery_rows

pytestmark = pytest.mark.filterwarnings("ignore:.* the published set:UserWarning")


NAMES = {0: ["BMW", "Audi"], 1: ["Seat", "Audi", "Kia", "BMW"], 3: ["Kia", "Seat", "BMW", "Audi"]}
WAYS = ("gallery", "balanced", "votes", "class_means", "last_layer")


def vote(neighbors, counts):
    """The class with most votes of 1 / exemplars each, of equal ones that of the nearest."""
    votes = Counter()
    for name in neighbors:
        votes[name] += Fraction(1, counts[name])
    return votes.most_common(1)[0][0]  # of equal ones the first that was counted


def predictions(queries, gallery, names):
    """The classes of queries by one gallery, each way by a program of its own."""
    order = neighbors_of(queries, gallery, 20)[1]
    plane = [np.stack([part.real, part.imag], axis=1) / abs(part)[:, np.newaxis] for part in (gallery, queries)]
    return {
        "gallery": names[order[:, 0]],
        "votes": np.array([vote(row, Counter(names)) for row in names[order]]),
        "class_means": by_means(queries, gallery, names),
        "last_layer": last_layer(plane[0], names, plane[1]),
    }


def test_every_number_of_an_open_set(tmp_path):
    """Two makes of four are new: by seed 1 the last two. A make of the test alone is none of them."""
    changes = {"attributes": ("make",), "losses": ("untrained", "arcface"), "held_out": 2, "added": (1, 3)}
    config = replace(CONFIG, **changes, exemplars=11, draws=2, seeds=(1,), runs_dir=tmp_path)
    config = replace(config, data_dir=write_cars(tmp_path / "cars"))
    folder, data = open_run(config, "vehicle_attributes"), read(config)
    for trial in trials(config):
        (folder / trial.name).mkdir()
        recognizer.save(trained(trial.loss, {"make": NAMES[trial.retrained_with]}), folder / trial.name)
        if trial.loss != "untrained":
            (folder / trial.name / "log.csv").write_text("epoch,loss\n1,2.0\n")
    records = evaluate(folder)
    names = [f"{kind}-seed1" for kind in ("arcface", "retrained1-cross_entropy", "retrained3-cross_entropy")]
    assert [path.name for path in sorted(folder.glob("*/"))] == [names[0], "figures", *names[1:], "untrained-seed1"]
    labels, true = data.train["make"].to_numpy(), data.test["make"].to_numpy()
    new = np.isin(true, ["Kia", "Seat"])

    def parts(right):
        macro = np.mean([np.mean(right[true == name]) for name in set(true)])
        return pytest.approx({"old": right[~new].mean(), "new": right[new].mean(), "macro": macro})

    for record, loss, count in zip(records, ("untrained", "arcface", *["cross_entropy"] * 2), (0, 0, 1, 3)):
        counts = (record["new_classes"], record["old_images"], record["new_images"], record["retrained_with"])
        assert counts == (["Kia", "Seat"], int(sum(~new)), int(sum(new)), count)
        if count:
            assert record["retrained"] == {str(count): parts(by_logits(data.test, NAMES[count]) == true)}
            continue
        queries, right, limits = points(data.test, SHIFT[loss]), Counter(), []
        exemplars = points(data.train, SHIFT[loss])
        for draw in (0, 1):
            for count in (1, 3):
                rows, balanced = gallery_rows(config, 1, labels, count, draw), balanced_rows(1, labels, count, draw)
                assert Counter(labels[rows]) == Counter({"Audi": 11, "BMW": 11, "Kia": count, "Seat": count})
                assert set(Counter(labels[balanced]).values()) == {count}
                predicted = predictions(queries, exemplars[rows], labels[rows])
                predicted["balanced"] = predictions(queries, exemplars[balanced], labels[balanced])["gallery"]
                for way in WAYS:
                    right[way, count] = right[way, count] + (predicted[way] == true) / 2
            rows = gallery_rows(config, 1, labels, 0, draw)
            limits.append(rejection(queries, exemplars[rows], labels[rows], new))
        with np.load(folder / f"{loss}-seed1" / CORRECT) as file:
            assert set(file.files) == {f"{way}_{count}" for way, count in right}
            for way, count in right:
                np.testing.assert_allclose(file[f"{way}_{count}"], right[way, count], err_msg=f"{way} {count}")
        for way in WAYS:
            assert record[way] == {str(count): parts(right[way, count]) for count in (1, 3)}, way
        assert record["unknown"] == pytest.approx(
            {name: np.mean([limit[name] for limit in limits]) for name in limits[0]}, rel=1e-4
        )
    check_report((folder / "report.md").read_text(), records)
    assert_figures(folder, "growth", "loss")


def rejection(queries, gallery, names, new):
    """How well the distance to the nearest of 22 exemplars of two old makes tells new ones."""
    unknown = neighbors_of(queries, gallery, 1)[0][:, 0]
    within = [neighbors_of(p, p, 2)[0][:, 1] for p in (gallery[names == name] for name in ("Audi", "BMW"))]
    limit = np.sort(np.concatenate(within))[int(np.ceil(0.95 * 23)) - 1]  # of 22
    wins = [(a > b) + (a == b) / 2 for a in unknown[new] for b in unknown[~new]]
    return {
        "auc": np.mean(wins),
        "threshold": limit,
        "accepted_old": np.mean(unknown[~new] <= limit),
        "rejected_new": np.mean(unknown[new] > limit),
    }


def check_report(text, records):
    """The tables have the numbers of the records: of one seed, so without deviations and differences."""

    def cells(record, way):
        return [f"{100 * record[way][count][part]:.1f}" for part in ("new", "old", "macro") for count in ("1", "3")]

    titles = ["untrained: ImageNet's features, pooled", "ArcFace loss"]
    main = "Paper and this run (4 of 4 trainings)"
    assert rows_of(text, main) == [[title, *cells(record, "balanced"), "–"] for title, record in zip(titles, records)]
    assert rows_of(text, main, 0)[0][1:] == [
        *(f"{part}, {count}" for part in ("new", "old", "macro") for count in (1, 3)),
        "% by epoch, 11 of each",
    ]
    both = [record["retrained"] for record in records[2:]]
    record = {"retrained": {**both[0], **both[1]}}
    for title, one in zip(titles, records):
        rows = rows_of(text, f"Ways to use one embedding: {title}")
        assert [row[1:] for row in rows] == [*(cells(one, way) for way in WAYS), cells(record, "retrained")]
    unknown = rows_of(text, "Unknown classes")
    assert unknown == [
        [title, *(f"{100 * one['unknown'][name]:.1f}" for name in ("auc", "accepted_old", "rejected_new"))]
        for title, one in zip(titles, records)
    ]
    columns = rows_of(text, "Unknown classes", 0)[0][1:]
    assert columns == ["ROC AUC (%)", "known ones accepted (%)", "unknown ones rejected (%)"]
    assert "Differences" not in text
