"""Every number of an open set, from images to its tables, against a program of its own."""

from collections import Counter
from dataclasses import replace

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
    share,
    trained,
    write_cars,
)
from tests.vehicle_attributes.test_open_set import last_layer
from vehicle_attributes import recognizer
from vehicle_attributes.config import trials
from vehicle_attributes.data import read
from vehicle_attributes.evaluate import evaluate
from vehicle_attributes.open_set import gallery_rows

pytestmark = pytest.mark.filterwarnings("ignore:.* the published set:UserWarning")


def test_every_number_of_an_open_set(tmp_path):
    """Two makes of four are new: by seed 1 the last two. A make of the test alone is none of them."""
    changes = {"attributes": ("make",), "losses": ("arcface",), "held_out": 2, "added": (1, 3), "exemplars": 11}
    config = replace(CONFIG, **changes, seeds=(1,), data_dir=write_cars(tmp_path / "cars"), runs_dir=tmp_path)
    folder, data = open_run(config, "vehicle_attributes"), read(config)
    names = {0: ["BMW", "Audi"], 1: ["Seat", "Audi", "Kia", "BMW"], 3: ["Kia", "Seat", "BMW", "Audi"]}
    for trial in trials(config):
        (folder / trial.name).mkdir()
        recognizer.save(trained(trial.loss, {"make": names[trial.retrained_with]}), folder / trial.name)
        (folder / trial.name / "log.csv").write_text("epoch,loss\n1,2.0\n")
    records = evaluate(folder)
    assert [path.name for path in sorted(folder.glob("*/"))] == [
        "arcface-seed1",
        "figures",
        "retrained1-cross_entropy-seed1",
        "retrained3-cross_entropy-seed1",
    ]
    labels, true = data.train["make"].to_numpy(), data.test["make"].to_numpy()
    new = np.isin(true, ["Kia", "Seat"])

    def parts(predicted):
        chosen = {"old": ~new, "new": new, "all": np.ones(len(new), bool)}
        return {part: pytest.approx(share(true[rows], predicted[rows])) for part, rows in chosen.items()}

    queries = points(data.test, SHIFT["arcface"])
    for record, count in zip(records, (0, 1, 3)):
        counts = (record["new_classes"], record["old_images"], record["new_images"], record["retrained_with"])
        assert counts == (["Kia", "Seat"], int(sum(~new)), int(sum(new)), count)
        if count:
            assert record["retrained"] == {str(count): parts(by_logits(data.test, names[count]))}
    record = records[0]
    for count in (0, 1, 3):
        rows = gallery_rows(config, 1, labels, count)
        assert Counter(labels[rows]) == Counter({"Audi": 11, "BMW": 11, "Kia": count, "Seat": count})
        gallery = points(data.train.iloc[rows], SHIFT["arcface"])
        distances, nearest = neighbors_of(queries, gallery, 1)
        assert record["gallery"][str(count)] == parts(labels[rows][nearest[:, 0]])
        assert record["class_means"][str(count)] == parts(by_means(queries, gallery, labels[rows]))
        plane = [np.stack([part.real, part.imag], axis=1) / abs(part)[:, np.newaxis] for part in (gallery, queries)]
        assert record["last_layer"][str(count)] == parts(last_layer(plane[0], labels[rows], plane[1]))
        if count == 0:
            unknown = distances[:, 0]
            within = [neighbors_of(p, p, 2)[0][:, 1] for p in (gallery[labels[rows] == n] for n in ("Audi", "BMW"))]
            limit = np.sort(np.concatenate(within))[int(np.ceil(0.95 * 23)) - 1]  # of 22
            wins = [(a > b) + (a == b) / 2 for a in unknown[new] for b in unknown[~new]]
            assert record["unknown"] == {
                "auc": pytest.approx(np.mean(wins)),
                "threshold": pytest.approx(limit, rel=1e-4),
                "accepted_old": pytest.approx(np.mean(unknown[~new] <= limit)),
                "rejected_new": pytest.approx(np.mean(unknown[new] > limit)),
            }
    assert record["gallery"].keys() == record["class_means"].keys() == record["last_layer"].keys() == {"0", "1", "3"}
    text = (folder / "report.md").read_text()
    table = rows_of(text, "Paper and this run (3 of 3 trainings)")
    cells = [f"{100 * record['gallery'][count][part]:.1f}" for part in ("new", "old") for count in ("1", "3")]
    assert table[0] == ["ArcFace loss, gallery", *cells]
    assert [row[0] for row in table[1:]] == [
        "ArcFace loss, class means",
        "ArcFace loss, last layer trained anew",
        "classifier trained anew",
    ]
    cells = [f"{100 * record['unknown'][name]:.1f}" for name in ("auc", "accepted_old", "rejected_new")]
    assert rows_of(text, "Unknown classes") == [["ArcFace loss", *cells]]
    columns = [rows_of(text, name, 0)[0][1:] for name in ("Paper and this run (3 of 3 trainings)", "Unknown classes")]
    assert columns[0] == ["new, 1", "new, 3", "old, 1", "old, 3"]
    assert columns[1] == ["ROC AUC (%)", "known ones accepted (%)", "unknown ones rejected (%)"]
    assert_figures(folder, "growth")
