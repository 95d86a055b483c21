"""Tables: which paper number a run is compared with."""

import json
from dataclasses import replace

import pytest

from common.experiments.config import EvaluationArguments
from common.experiments.entry import Results
from common.report.tables import published
from flipreid import tables
from flipreid.config import DATA, PRESETS
from tests.helpers import empty_pages


def record(method, seed, value):
    names = ("mAP", "rank1", "rank5", "rank10", "mINP")
    inferences = ("single", "double", *(["reranked"] if method in ("flipping_loss", "aggregator") else []))
    scores = {f"{inference}_{name}": value for inference in inferences for name in names}
    intervals = {f"{inference}_mAP_interval": [value / 2, value] for inference in inferences}
    identities = {f"{inference}_identity_AP": [value] * 9 for inference in inferences}
    progress = {"curve": {"4": value}, "converged": True, "identity_queries": [2] * 9}
    return {"method": method, "seed": seed, "gap": 0.004, **scores, **intervals, **identities, **progress}


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    "preset, first, last",
    [
        ("market1501_resnet50", ["88.1", "95.0"], ["94.6", "96.0"]),
        ("duke_ibn_resnet50", ["79.0", "88.7"], ["89.8", "91.8"]),
        ("msmt17_resnest50", ["66.0", "84.2"], ["81.3", "87.5"]),
        ("mobilenet", ["–", "–"], ["–", "–"]),
    ],
)
def test_paper_numbers_are_in_their_rows_alone(preset, first, last):
    config = PRESETS[preset][1]
    methods = ("baseline", "flipreid", "flipping_loss", "aggregator")
    records = [record(method, seed, 0.5 + 0.1 * seed) for method in methods for seed in range(2)]
    rows = cells(tables.run_table(config, records))
    assert [row[0] for row in rows] == list(tables.ROWS)
    assert rows[0][3:5] == first and rows[6][3:5] == last and rows[7][3:5] == ["–", "–"]
    assert rows[0][5] == "55.0 ± 7.1" and rows[0][-2:] == ["25.0 to 50.0", "4.0 ± 0.0"] and rows[1][-1] == "–"
    for changes in ({"regional_branches": False}, {"backbone": "resnet50x"}, {"dataset": "synthetic"}):
        assert cells(tables.run_table(replace(config, **changes), records))[0][3:5] == ["–", "–"]


def test_every_table_of_the_publication_has_seven_rows():
    assert {len(rows) for paper in tables.PAPER.values() for rows in paper.values()} == {7}


def test_every_row_of_table_2_3_is_planned():
    """Rows 1.1 to 3.3 of three backbones on three sets are 63; a preset has the seven of its backbone and set."""
    planned = 0
    for backbone, paper in tables.PAPER.items():
        for dataset, rows in paper.items():
            preset = f"{dataset}_{backbone}"
            config = PRESETS[preset][1]
            assert config.backbone.removeprefix("torch_") == backbone and config.dataset == dataset
            assert DATA[preset].keys() == {"data_dir", "weights"}
            # Every training is evaluated with one and two images, those with the flipping loss re-ranked too.
            evaluated = [row for row, (method, _) in tables.ROWS.items() if method in config.methods]
            assert len(evaluated) == len(rows)
            planned += len(evaluated)
    assert planned == 63
    # Each backbone starts from the file of its authors.
    assert DATA["duke_ibn_resnet50"]["weights"] == DATA["msmt17_ibn_resnet50"]["weights"]
    assert len({DATA[f"duke_{backbone}"]["weights"] for backbone in tables.PAPER}) == 3


def test_publishing_saves_the_numbers_and_writes_the_readme(tmp_path, monkeypatch):
    page = empty_pages(tmp_path)
    control = {"mAP": 0.1, "rank1": 0.2, "rank5": 0.3, "rank10": 0.4, "mINP": 0.5, "mAP_interval": [0.0, 0.2]}
    (tmp_path / "untrained.json").write_text(json.dumps(control))
    monkeypatch.setattr(tables, "HERE", tmp_path)
    for preset in ("duke_resnest50", "mobilenet"):
        config = replace(PRESETS[preset][1], name=preset)
        records = [record("flipping_loss", seed, 0.4) for seed in range(3)]
        tables.publish(Results(tmp_path, config, None, 3, [], records, EvaluationArguments()))
    text = page.read_text()
    rows = [row for row in cells(text) if row and row[0] == "`duke_resnest50`"]
    assert [row[5] for row in rows] == ["40.0 ± 0.0"] * 3 and "60 of its rows are not run" in text
    assert "Seeds 0, 1, 2." in text
    assert [row[5:7] for row in cells(text) if row and row[1].startswith("untrained")] == [["10.0", "20.0"]]
    compared = [row[1:] for row in cells(text) if row and row[0] == "row 3.2 against row 3.1"]
    assert compared == [["+0.0 (+0.0 to +0.0)", "3", "undecided"]]
    assert "data_dir" not in published(tmp_path)["mobilenet"]["config"]


def test_the_first_page_says_what_the_differences_decide():
    """Double images gain 10 points and single ones nothing, whatever the seed and the identity."""
    records = []
    for method, single, double in (("baseline", 0.4, 0.5), ("flipreid", 0.4, 0.6), ("flipping_loss", 0.4, 0.6)):
        for seed in range(2):
            values = {"single_mAP": single, "double_mAP": double}
            lists = {f"{name.partition('_')[0]}_identity_AP": [value] * 9 for name, value in values.items()}
            records.append(record(method, seed, 0.5) | values | lists)
    run = {"preset": "demo", "changed": [], "config": {}}
    findings = tables.findings({"demo": run | {"trials": records}})
    assert [finding.verdict for finding in findings] == ["holds", "undecided", "holds", "not run"]
    assert tables.findings({"demo": run | {"trials": [r | {"converged": False} for r in records]}})[0].verdict == (
        "holds, not converged"
    )
    assert findings[0].measured == "+10.0 (+10.0 to +10.0) points of mAP: 60.0 ± 0.0 against 50.0 ± 0.0 %"
    assert findings[-1].claim == "the same on photographs"
    moving = [record | {"converged": record["method"] != "flipreid"} for record in records]
    assert [finding.verdict for finding in tables.findings({"mobilenet": run | {"trials": moving}})] == [
        *["not run"] * 3,
        *("undecided", "holds"),
    ]
    moving = [record | {"converged": False} for record in records]
    findings = tables.findings({"mobilenet": run | {"trials": moving}})
    assert [(finding.verdict, finding.on) for finding in findings] == [
        *[("not run", "synthetic people")] * 3,
        ("undecided: not converged", "Market-1501, MobileNet 0.25"),
    ]
    assert "the same on photographs" not in [finding.claim for finding in findings[:3]]
