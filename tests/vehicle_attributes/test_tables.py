"""Tables: which paper number stands next to a run, and what the README shows."""

from dataclasses import replace

import pytest

from common.experiments import entry
from common.report import plots
from common.report.tables import published
from vehicle_attributes import tables
from vehicle_attributes.config import DATA, LOSSES, PRESETS
from vehicle_attributes.paper_results import LEFT_OUT, LISTED, PAPER, ROWS

HEADER = 2  # lines of a table before its rows


def record(loss, seed, value, attribute="type"):
    classifier = value if loss == "cross_entropy" else None
    numbers = {"accuracy": value, "macro_accuracy": value / 2, "accuracy_of_vote": value, "exemplars": 1400}
    numbers["accuracy_of_class_means"] = value - 0.3
    return {
        "loss": loss,
        "seed": seed,
        attribute: {**numbers, "accuracy_of_classifier": classifier, "class_accuracies": {}},
    }


def cells(table, row):
    return [cell.strip() for cell in table.splitlines()[HEADER + row].split("|")[1:-1]]


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
    assert row[3:6] == ["55.00 ± 7.07", "50.0 60.0", "27.50 ± 3.54"] and row[-1] == "1,400"
    assert row[7] == "25.00 ± 7.07"  # by class means
    assert (row[8] == "–") == (config.losses[0] != "cross_entropy")


def test_each_row_of_each_table_is_planned_or_left_out():
    """`make reproduce-` trains all presets but `smoke`: all cells of Table 3.5, and the recommended sets."""
    assert DATA.keys() == PRESETS.keys() - {"smoke"}
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
    parts = {"new": new, "old": old, "all": (new + old) / 2}
    unknown = {"auc": 0.9, "accepted_old": 0.95, "rejected_new": 0.5}
    grown = {"0": {**parts, "new": 0.0}, "1": parts, "5": parts}
    means = {count: {name: value / 2 for name, value in accuracies.items()} for count, accuracies in grown.items()}
    ways = {"gallery": grown, "class_means": means, "last_layer": grown}
    return {"loss": loss, "seed": seed, **ways, "unknown": unknown}


def test_growth_has_a_row_for_each_way_and_a_column_for_each_number_of_exemplars():
    config = replace(PRESETS["mobilenet_open_set"][1], losses=("triplet",), added=(1, 5))
    records = [open_set_record("triplet", seed, 0.4 + 0.2 * seed, 0.9) for seed in (0, 1)]
    records += [
        {"loss": "cross_entropy", "seed": seed, "retrained": {str(k): {"new": k / 10, "old": 0.8, "all": 0.5}}}
        for seed in (0, 1)
        for k in (1, 5)
    ]
    table = tables.open_set_table(config, records)
    assert cells(table, 0)[1:] == ["50.0 ± 14.1", "50.0 ± 14.1", "90.0 ± 0.0", "90.0 ± 0.0"]
    assert cells(table, 1) == ["triplet loss, class means", *["25.0 ± 7.1"] * 2, *["45.0 ± 0.0"] * 2]
    assert cells(table, 3) == ["classifier trained anew", "10.0 ± 0.0", "50.0 ± 0.0", "80.0 ± 0.0", "80.0 ± 0.0"]
    assert cells(tables.unknown_table(records), 0) == ["triplet loss", "90.0 ± 0.0", "95.0 ± 0.0", "50.0 ± 0.0"]
    assert tables.unknown_table(records).count("\n") == HEADER  # retrained classifiers reject nothing


def test_growth_has_a_line_with_deviations_for_each_way(monkeypatch, tmp_path):
    """Means of the seeds 40 and 60 %, sample deviation √200; a classifier that is trained anew has one seed."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    config = replace(PRESETS["mobilenet_open_set"][1], losses=("arcface",), added=(1, 5))
    grown = [{str(k): {"new": v + k / 100, "old": v + 0.2, "all": v} for k in (1, 5)} for v in (0.4, 0.6)]
    records = [{"loss": "arcface", "gallery": g, "class_means": g, "last_layer": g} for g in grown]
    records += [{"loss": "cross_entropy", "retrained": {str(k): {"new": 0.1 * k, "old": 0.9}}} for k in (1, 5)]
    tables.draw_growth(tmp_path / "growth.png", config, records)
    panels = figures[0].axes
    assert [axis.get_title() for axis in panels] == ["new classes", "old classes"]
    for axis, means in zip(panels, ({"ArcFace loss": [51, 55], "trained": [10, 50]}, {"ArcFace loss": [70, 70]})):
        lines = {lines.get_label(): lines for lines in axis.containers}
        assert list(lines) == ["ArcFace loss", "classifier trained anew"]
        line, _, (bars,) = lines["ArcFace loss"].lines
        assert line.get_xdata().tolist() == [1, 5] and line.get_ydata() == pytest.approx(means["ArcFace loss"])
        assert [bar[1, 1] - bar[0, 1] for bar in bars.get_segments()] == pytest.approx([2 * 200**0.5] * 2)
        line, _, (bars,) = lines["classifier trained anew"].lines
        assert line.get_ydata() == pytest.approx(means.get("trained", [90, 90]))
        assert [bar[1, 1] - bar[0, 1] for bar in bars.get_segments()] == [0, 0]
    tables.draw_growth(tmp_path / "growth.png", config, records[:-1])  # with five exemplars none is trained yet
    assert [[lines.get_label() for lines in axis.containers] for axis in figures[1].axes] == [["ArcFace loss"]] * 2


def test_publishing_writes_the_numbers_and_the_readme(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    monkeypatch.setattr(tables, "HERE", tmp_path)
    config = replace(PRESETS["mobilenet"][1], name="mobilenet", losses=("triplet",))
    records = [record("triplet", seed, 0.9) for seed in range(3)]
    tables.publish(entry.Results(tmp_path, config, None, 3, [], records, entry.Arguments()))
    text = (tmp_path / "README.md").read_text()
    assert "90.0 90.0 90.0" in text and "seeds 0, 1, 2" in text
    assert "| triplet loss" in text and "97.4" in text and "not run" in text
    assert "data_dir" not in published(tmp_path)["mobilenet"]["config"]


def test_readme_has_each_run_in_its_place(tmp_path, monkeypatch):
    """Accuracies of two seeds: 90 ± 1.41 and so on, the later the run in the list the lower."""
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    monkeypatch.setattr(tables, "HERE", tmp_path)
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
        tables.publish(entry.Results(tmp_path, config, None, 2, [], records, entry.Arguments()))
    config = replace(PRESETS["demo_open_set"][1], name="demo_open_set", losses=("triplet",), added=(1, 5))
    monkeypatch.setattr(tables.tables, "copy_figures", lambda *_: None)
    open_set = [open_set_record("triplet", 0, 0.4, 0.9)]
    tables.publish(entry.Results(tmp_path, config, None, 1, [], open_set, entry.Arguments()))
    text = (tmp_path / "README.md").read_text()
    main, others, _, *sections = text.split("\n\n**")
    assert cells(main.partition("\n\n")[2], 1) == [
        *("triplet loss", "97.4", "91.00 ± 1.41", "71.00 ± 1.41"),
        *("95.3", "81.00 ± 1.41", "25.00 ± 0.00"),
    ]
    assert cells(main.partition("\n\n")[2], 3) == ["ArcFace loss", *["–", "not run", "not run"] * 2]
    parts = ("paper", "ours", "ours, jointly")
    assert cells(main.partition("\n\n")[2], -HEADER) == [
        "loss",
        *(f"{attribute}, {part}" for attribute in ("type", "make") for part in parts),
    ]
    assert others.splitlines()[0] == "CompCars and MIO-TCD: accuracy (%)**"
    rows = others.partition("\n\n")[2]
    assert cells(rows, 0) == ["`compcars_model_arcface`", "98.5 (Xiang et al. 2019)", "61.00 ± 1.41"]
    assert len(rows.splitlines()) == HEADER + 1
    assert [section.partition("**")[0] for section in sections] == list(tables._TITLES.values())
    shown = sections[-1].split("\n\n")
    assert shown[0].endswith("preset `demo_open_set`, seeds 0")
    assert cells(shown[1], 0) == ["triplet loss, gallery", "40.0", "40.0", "90.0", "90.0"]
    assert cells(shown[2], 0) == ["triplet loss", "90.0", "95.0", "50.0"]
