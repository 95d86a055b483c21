"""Tables: which paper number stands next to a run, and what the README shows."""

from dataclasses import replace

import pytest

from common.experiments import entry
from common.experiments.config import EvaluationArguments, to_json
from common.report import plots
from common.report.tables import published
from tests.helpers import empty_pages
from tests.helpers import table_cells as cells
from vehicle_attributes import tables
from vehicle_attributes.config import DATA, LOSSES, PRESETS
from vehicle_attributes.open_set.measure import WAYS
from vehicle_attributes.open_set.tables import draw_growth, losses_table, unknown_table, ways_table
from vehicle_attributes.paper_results import LEFT_OUT, LISTED, PAPER, ROWS

HEADER = 2  # lines of a table before its rows


def record(loss, seed, value, attribute="type"):
    classifier = value if loss == "cross_entropy" else None
    numbers = {"accuracy": value, "macro_accuracy": value / 2, "accuracy_of_vote": value, "exemplars": 1400}
    numbers["accuracy_of_class_means"] = value - 0.3
    return {
        "loss": loss,
        "seed": seed,
        "retrained_with": 0,
        "curve": {},
        attribute: {**numbers, "accuracy_of_classifier": classifier, "class_accuracies": {}},
    }


@pytest.mark.parametrize(
    "preset, attribute, paper",
    [
        ("veri_wild_type_cross_entropy", "type", "96.8"),
        ("veri_wild_type_lifted_structured", "type", "97.7"),
        ("veri_wild_make_triplet", "make", "95.3"),
        ("veri_wild_make_arcface", "make", "–"),
        ("mio_tcd_type_triplet", "type", "–"),
    ],
)
def test_paper_numbers_are_those_of_their_cell(preset, attribute, paper):
    config = PRESETS[preset][1]
    records = [record(config.losses[0], seed, value, attribute) for seed, value in ((0, 0.5), (1, 0.6))]
    row = cells(tables.run_table(config, records), 0)
    assert row[2] == paper
    assert row[3:6] == ["55.00 ± 7.07", "50.0 60.0", "27.50 ± 3.54"] and row[-2:] == ["1,400", "–"]
    assert row[7] == "25.00 ± 7.07"  # by class means
    assert (row[8] == "–") == (config.losses[0] != "cross_entropy")


def test_each_row_of_each_table_is_planned_or_left_out():
    """`make reproduce-` trains all presets but `smoke` and own pictures: all cells of Table 3.5, and other sets."""
    assert DATA.keys() == PRESETS.keys() - {"smoke", "own_data"}
    of_paper = {f"veri_wild_{attribute}_{loss}" for attribute, values in PAPER.items() for loss in values}
    assert len(of_paper) == 2 * ROWS["3.5"] == 6 and of_paper <= DATA.keys()
    listed = {f"{task}_{loss}" for task in LISTED for loss in LOSSES}
    joint = {f"veri_wild_joint_{loss}" for loss in LOSSES}
    assert len(listed) == 20 and listed | joint <= DATA.keys()
    folders = {name: DATA[name]["data_dir"] for name in of_paper | listed | joint}
    assert all(name.startswith(folder.lower().replace("-", "_")) for name, folder in folders.items())
    assert set(folders.values()) == {"VERI-Wild", "CompCars", "MIO-TCD"}
    assert LEFT_OUT.keys() == ROWS.keys() - {"3.5"} and sum(ROWS.values()) == 63


def test_joint_training_is_no_cell_of_the_table():
    config = PRESETS["veri_wild_joint_triplet"][1]
    both = {**record("triplet", 0, 0.5, "make"), **record("triplet", 0, 0.7, "type")}
    rows = [cells(tables.run_table(config, [both]), row) for row in (0, 1)]
    assert [row[0] for row in rows] == ["type", "make"] and [row[2] for row in rows] == ["–", "–"]


def open_set_record(loss, seed, new, old):
    parts = {"new": new, "old": old, "macro": (new + 2 * old) / 3}
    ways = {
        way: {count: {name: value / (1 + i) for name, value in parts.items()} for count in ("1", "5")}
        for i, way in enumerate(("gallery", "balanced", "votes", "class_means", "last_layer"))
    }
    unknown = {"auc": 0.9, "accepted_old": 0.95, "rejected_new": 0.5}
    return {"loss": loss, "seed": seed, "retrained_with": 0, **ways, "unknown": unknown, "curve": {"5": 0.5}}


def retrained_record(seed, k):
    numbers = {"new": k / 10, "old": 0.8, "macro": 0.5}
    return {"loss": "cross_entropy", "seed": seed, "retrained_with": k, "retrained": {str(k): numbers}}


GROWN = replace(PRESETS["mobilenet_open_set"][1], losses=("untrained", "cross_entropy"), added=(1, 5))


def test_growth_has_a_row_for_each_way_and_a_column_for_each_number_of_exemplars():
    """New types with 40 and 60 %, old ones with 90 %: their mean over two of six types and four is 73.3 and 80 %."""
    records = [open_set_record("cross_entropy", seed, 0.4 + 0.2 * seed, 0.9) for seed in (0, 1)]
    records += [retrained_record(seed, k) for seed in (0, 1) for k in (1, 5)]
    table = ways_table(GROWN, records)
    whole = [["50.0 ± 14.1"] * 2, ["90.0 ± 0.0"] * 2, ["76.7 ± 4.7"] * 2]
    assert cells(table, 0) == ["nearest exemplar, of old classes all", *sum(whole, [])]
    assert cells(table, 1)[1:3] == ["25.0 ± 7.1"] * 2  # balanced: half of that
    anew = ["10.0 ± 0.0", "50.0 ± 0.0", "80.0 ± 0.0", "80.0 ± 0.0", "50.0 ± 0.0", "50.0 ± 0.0"]
    assert cells(table, 5) == ["classifier trained anew", *anew] and len(table.splitlines()) == HEADER + 6
    control = [open_set_record("untrained", 0, 0.2, 0.8)]
    table = losses_table(GROWN, [*control, *records])
    assert cells(table, 0)[:2] == ["untrained: ImageNet's features, pooled", "10.0"] and cells(table, 0)[-1] == "–"
    assert cells(table, 1)[:2] == ["cross-entropy loss", "25.0 ± 7.1"] and cells(table, 1)[-1] == "5: 50.0"
    assert len(table.splitlines()) == HEADER + 2
    assert cells(unknown_table(records), 0) == ["cross-entropy loss", "90.0 ± 0.0", "95.0 ± 0.0", "50.0 ± 0.0"]
    assert unknown_table(records).count("\n") == HEADER  # retrained classifiers reject nothing


def test_growth_has_a_line_with_deviations_for_each_way(monkeypatch, tmp_path):
    """Means of the seeds 40 and 60 %, sample deviation √200; a classifier that is trained anew has one seed."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    grown = [{str(k): {"new": v + k / 100, "old": v + 0.2} for k in (1, 5)} for v in (0.4, 0.6)]
    records = [{"loss": "cross_entropy", **dict.fromkeys(WAYS, numbers)} for numbers in grown]
    records += [{"loss": "cross_entropy", "retrained": {str(k): {"new": 0.1 * k, "old": 0.9}}} for k in (1, 5)]
    draw_growth(tmp_path / "growth.png", GROWN, records)
    panels = figures[0].axes
    assert [axis.get_title() for axis in panels] == ["new classes", "old classes"]
    for axis, means, anew in zip(panels, ([51, 55], [70, 70]), ([10, 50], [90, 90])):
        lines = {lines.get_label(): lines for lines in axis.containers}
        assert list(lines) == [*WAYS.values(), "classifier trained anew"]
        line, _, (bars,) = lines[WAYS["votes"]].lines
        assert line.get_xdata().tolist() == [1, 5] and line.get_ydata() == pytest.approx(means)
        assert [bar[1, 1] - bar[0, 1] for bar in bars.get_segments()] == pytest.approx([2 * 200**0.5] * 2)
        line, _, (bars,) = lines["classifier trained anew"].lines
        assert line.get_ydata() == pytest.approx(anew)
        assert [bar[1, 1] - bar[0, 1] for bar in bars.get_segments()] == [0, 0]
    # With five exemplars none is trained yet; and the control is a line of its own.
    draw_growth(tmp_path / "growth.png", GROWN, [*records[:-1], {**records[0], "loss": "untrained"}])
    labels = [*WAYS.values(), f"untrained: {WAYS['balanced']}"]
    assert [[lines.get_label() for lines in axis.containers] for axis in figures[1].axes] == [labels] * 2


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Empty pages to publish into."""
    empty_pages(tmp_path)
    monkeypatch.setattr(tables, "HERE", tmp_path)
    monkeypatch.setattr(tables.tables, "copy_figures", lambda *_: None)
    monkeypatch.setattr(tables, "differences", lambda results: [])
    return tmp_path


def test_a_run_that_has_not_converged_is_named(page, monkeypatch):
    """Rows, differences and names: the triplet loss of one seed still moves; the control never does."""
    interval = {"attribute": "type", "way": "nearest", "trainings": 2, "value": 0.02, "low": 0.01, "high": 0.03}
    pairs = (("cross_entropy", "untrained"), ("triplet", "untrained"), ("triplet", "cross_entropy"))
    compared = [{**interval, "loss": loss, "against": against} for loss, against in pairs]
    monkeypatch.setattr(tables, "differences", lambda results: compared)
    config = replace(PRESETS["mobilenet"][1], name="mobilenet", seeds=(0, 1))
    records = [
        {**record(loss, seed, 0.9), "retrained_with": 0, "curve": {"35": 0.88, "40": 0.9}, "converged": still}
        for loss, stills in (("cross_entropy", (True, True)), ("triplet", (True, False)))
        for seed, still in enumerate(stills)
    ]
    records += [{**record("untrained", 0, 0.7), "retrained_with": 0}]
    tables.publish(entry.Results(page, config, None, 4, [], records, EvaluationArguments()))
    assert published(page)["mobilenet"]["differences"] == compared
    section = (page / "RESULTS.md").read_text().partition("preset `mobilenet`")[2].partition("\n\n**")[0].split("\n\n")
    assert [row[1] for row in (cells(section[1], 0), cells(section[1], 1))] == [
        *("untrained: ImageNet's features, pooled", "cross-entropy loss"),
    ]
    assert cells(section[1], 1)[-1] == "35: 88.0, 40: 90.0" and len(section[1].splitlines()) == HEADER + 2
    assert section[2] == "Differences, with 95 % intervals over test images and seeds:"
    assert cells(section[3], 0) == [
        *("type", "cross-entropy loss against untrained: ImageNet's features, pooled"),
        *("+2.0 (+1.0 to +3.0)", "2", "higher"),
    ]
    assert len(section[3].splitlines()) == HEADER + 1
    assert section[4].strip() == "Run but not converged, so not shown: triplet loss."


def test_publishing_writes_the_numbers_and_the_readme(page):
    config = replace(PRESETS["mobilenet"][1], name="mobilenet", losses=("triplet",))
    records = [record("triplet", seed, 0.9) for seed in range(3)]
    tables.publish(entry.Results(page, config, None, 3, [], records, EvaluationArguments()))
    text = (page / "RESULTS.md").read_text()
    assert "90.0 90.0 90.0" in text and "seeds 0, 1, 2" in text
    assert "| triplet loss" in text and "`veri_wild_type_…`, `veri_wild_make_…`" in text and "not run" in text
    assert "data_dir" not in published(page)["mobilenet"]["config"]


def test_readme_has_each_run_in_its_place(page):
    """Accuracies of two seeds: 90 ± 1.41 and so on, the later the run in the list the lower."""
    runs = ["veri_wild_type_triplet", "veri_wild_make_triplet", "veri_wild_joint_triplet", "compcars_model_arcface"]
    for i, name in enumerate(runs):
        config = replace(PRESETS[name][1], name=name)
        records = [
            {**record(config.losses[0], seed, 0.9 - i / 10 + seed / 50, attribute), "seed": seed}
            for seed in (0, 1)
            for attribute in config.attributes[:1]
        ]
        if name == "veri_wild_joint_triplet":
            for one in records:
                one["make"] = {**one["type"], "accuracy": 0.25}
        tables.publish(entry.Results(page, config, None, 2, [], records, EvaluationArguments()))
        if i == 0:  # types alone
            assert "sets**: `veri_wild_make_…`, `compcars_type_…`" in (page / "RESULTS.md").read_text()
    config = replace(PRESETS["demo_open_set"][1], name="demo_open_set", losses=("cross_entropy",), added=(1, 5))
    open_set = [open_set_record("cross_entropy", 0, 0.4, 0.9)]
    tables.publish(entry.Results(page, config, None, 1, [], open_set, EvaluationArguments()))
    text = (page / "RESULTS.md").read_text()
    *sections, main, others, missing, _ = text.split("\n\n**")
    assert [section.partition("**\n")[0].partition("**")[2].partition("**")[0] for section in sections[:1]] == [
        tables._TITLES["mobilenet"]
    ]
    table = main.partition("\n\n")[2]
    assert cells(table, -HEADER) == ["attribute", "loss", "paper", "ours", "ours, jointly"]
    assert cells(table, 0) == ["type", "triplet loss", "97.4", "91.00 ± 1.41", "71.00 ± 1.41"]
    assert cells(table, 1) == ["make", "triplet loss", "95.3", "81.00 ± 1.41", "25.00 ± 0.00"]
    assert len(table.splitlines()) == HEADER + 2
    assert others.splitlines()[0] == "CompCars and MIO-TCD: accuracy (%)**"
    rows = others.partition("\n\n")[2]
    assert cells(rows, 0) == ["`compcars_model_arcface`", "98.5 (Xiang et al. 2019)", "61.00 ± 1.41"]
    assert len(rows.splitlines()) == HEADER + 1
    assert "`compcars_type_…`, `compcars_make_…`, `compcars_sv_model_…`, `mio_tcd_type_…` are not run" in missing
    assert [section.partition("**")[0] for section in sections[1:]] == list(tables._TITLES.values())[1:]
    shown = sections[-1].split("\n\n")
    assert shown[0].endswith("preset `demo_open_set`, seeds 0")
    assert cells(shown[1], 0) == ["nearest exemplar, of old classes all", *["40.0"] * 2, *["90.0"] * 2, *["73.3"] * 2]
    assert cells(shown[2], 0) == ["cross-entropy loss", *["20.0"] * 2, *["45.0"] * 2, *["36.7"] * 2, "5: 50.0"]
    assert cells(shown[3], 0) == ["cross-entropy loss", "90.0", "95.0", "50.0"]


def test_the_first_page_says_what_the_differences_decide(page):
    """Of trainings that have converged; the demo's one training decides nothing."""
    interval = {"attribute": "type", "way": "nearest", "trainings": 3, "value": 0.02, "low": 0.01, "high": 0.03}
    compared = [
        interval | {"loss": "cross_entropy", "against": "classifier"},
        interval
        | {"loss": "lifted_structured", "against": "cross_entropy", "value": -0.02, "low": -0.03, "high": -0.01},
    ]
    config = to_json(replace(PRESETS["mobilenet"][1], name="mobilenet"))
    losses = ("cross_entropy", "lifted_structured")
    records = [{**record(loss, 0, 0.9), "converged": True} for loss in losses]
    run = {"preset": "mobilenet", "changed": [], "config": config, "trials": records, "differences": compared}
    findings = tables.findings({"mobilenet": run})
    assert [finding.verdict for finding in findings] == ["holds", "does not hold", "not run"]
    assert findings[0].measured == "+2.0 (+1.0 to +3.0) points of accuracy"
    moving = run | {"trials": [records[0], records[1] | {"converged": False}]}
    assert [finding.verdict for finding in tables.findings({"mobilenet": moving})][:2] == ["holds", "not converged"]
    alone = run | {"differences": compared[:1]}  # the loss was not trained
    assert [finding.verdict for finding in tables.findings({"mobilenet": alone})][:2] == ["holds", "not run"]
    demo = run | {"preset": "demo", "config": to_json(PRESETS["demo"][1]), "differences": []}
    assert [finding.verdict for finding in tables.findings({"demo": demo})][:2] == ["undecided: one training"] * 2
