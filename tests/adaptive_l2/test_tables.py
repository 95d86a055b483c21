"""Tables: which paper number a run is compared with."""

import json
from dataclasses import replace

import pytest

from adaptive_l2 import tables
from adaptive_l2.config import DATA, EVALUATION_ARGUMENTS, PRESETS, ROWS
from common.experiments.config import EvaluationArguments
from common.experiments.entry import Results
from common.report.tables import published
from tests.helpers import empty_pages
from tests.helpers import table_cells as cells


def record(regularization, seed, value, **more):
    names = ("mAP", "rank-1", "rank-5", "rank-10", "mINP")
    scores = {name.replace("-", ""): value for name in names}
    progress = {"curve": {"10": value}, "converged": True, "identity_AP": [value] * 9, "identity_queries": [2] * 9}
    interval = {"mAP_interval": [value / 2, value]}
    return {"regularization": regularization, "seed": seed, **scores, **interval, **progress, **more}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder, which is also a run's."""
    empty_pages(tmp_path)
    (tmp_path / "untrained.json").write_text(json.dumps(record("", 0, 0.1)))
    monkeypatch.setattr(tables, "HERE", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "preset, paper",
    [
        ("market1501_baseline", ["87.2", "94.6"]),
        ("duke_adaptive", ["79.9", "88.9"]),
        ("msmt17_minimal", ["11.4", "34.0"]),
        ("msmt17_adaptive_resnet152", ["62.2", "81.7"]),
        ("mobilenet_adaptive", ["–", "–"]),
    ],
)
def test_paper_numbers_are_in_their_row_alone(preset, paper):
    config = PRESETS[preset][1]
    (regularization,) = config.regularizations
    table = tables.run_table(config, [record(regularization, 0, 0.5), record(regularization, 1, 0.6)])
    row = cells(table, 0)
    assert row[1:3] == paper and row[3] == "55.0 ± 7.1" and row[-1] == "25.0 to 50.0"
    changed = replace(config, clipping=not config.clipping, random_erasing=not config.random_erasing)
    assert cells(tables.run_table(changed, [record(regularization, 0, 0.5)]), 0)[1:3] == ["–", "–"]


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "mobilenet_0.25"},
        {"triplet": False},
        {"regional_branches": False},
        {"random_erasing": False},
        {"clipping": False},
        {"image_size": (128, 64)},
        {"dataset": "synthetic"},
    ],
)
def test_a_training_that_differs_in_one_part_has_no_paper_number(changes):
    config = replace(PRESETS["duke_adaptive"][1], **changes)
    assert cells(tables.run_table(config, [record("adaptive", 0, 0.5)]), 0)[1:3] == ["–", "–"]


def test_reranked_scores_have_a_row_and_the_papers_numbers():
    config = PRESETS["market1501_adaptive_resnet152"][1]
    again = {f"reranked_{name}": value for name, value in record("adaptive", 0, 0.75).items()}
    table = tables.run_table(config, [record("adaptive", 0, 0.5, **again)])
    assert cells(table, 1)[:4] == ["adaptive L2, re-ranked", "94.4", "96.0", "75.0"]


def publish(project, name, regularization, values, **more):
    config = replace(PRESETS[name][1], name=name)
    records = [record(regularization, seed, value, **more) for seed, value in enumerate(values)]
    tables.publish(Results(project, config, None, len(values), [], records, EvaluationArguments()))
    return (project / "RESULTS.md").read_text()


def test_publishing_saves_the_numbers_and_writes_the_readme(project):
    text = publish(project, "mobilenet_baseline", "constant", [0.4, 0.4, 0.4])
    assert "| `mobilenet_baseline`" in text and "40.0 40.0 40.0" in text and "| 10: 40.0" in text
    assert "untrained" in text and "10.0" in text
    assert "30 of their rows are not run" in text
    assert "data_dir" not in published(project)["mobilenet_baseline"]["config"]


def test_rows_are_compared_over_seeds_and_identities(project):
    publish(project, "mobilenet_baseline", "constant", [0.4, 0.4])
    text = publish(project, "mobilenet_adaptive", "adaptive", [0.41, 0.43])
    row = next(line for line in text.splitlines() if "`mobilenet_adaptive` against `mobilenet_baseline`" in line)
    # Identities are alike, so all that varies is which seeds are in a resample: both, or one of them twice.
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["+2.0 (+1.0 to +3.0)", "2", "higher"]


def test_a_training_that_has_not_converged_is_named_and_not_shown(project):
    text = publish(project, "mobilenet_adaptive", "adaptive", [0.43, 0.43], converged=False)
    alone = "128×64 pixels**: run but not converged, so not shown: `mobilenet_adaptive`."
    assert alone in text and "mAP of each seed" not in text
    text = publish(project, "mobilenet_baseline", "constant", [0.4, 0.4])
    assert alone not in text
    assert "not shown: `mobilenet_adaptive`." in text and "43.0" not in text


def test_the_last_row_of_table_2_2_is_the_same_run_re_ranked(project):
    again = {f"reranked_{name}": value for name, value in record("adaptive", 0, 0.9).items()}
    text = publish(project, "duke_adaptive_resnet152", "adaptive", [0.8], **again)
    rows = [cells(line, -2)[1:] for line in text.splitlines() if line.startswith("| `duke_adaptive_resnet152`")]
    assert rows[0][1:] == ["81.0", "80.0", "90.2", "80.0"]
    assert rows[1] == ["Table 2.2: adaptive L2, ResNet152, re-ranked", "90.7", "90.0", "92.2", "90.0"]


def test_every_row_of_tables_2_2_and_3_is_planned():
    """Five own rows of Table 2.2 and six of Table III on three sets; the baseline is in both: 3 · (5 + 6 - 1) = 30."""
    planned = []
    for preset in DATA:
        dataset, _, row = preset.partition("_")
        if preset in PRESETS and dataset in tables.PAPER_RERANKED:
            assert PRESETS[preset][1] == replace(ROWS[row][1], dataset=dataset) and "data_dir" in DATA[preset]
            planned.append(tables.PAPER[row][dataset])
            if "--rerank" in EVALUATION_ARGUMENTS.get(preset, ()):
                planned.append(tables.PAPER_RERANKED[dataset])
    published_values = [values for row in tables.PAPER.values() for values in row.values()]
    assert sorted(planned) == sorted([*published_values, *tables.PAPER_RERANKED.values()]) and len(planned) == 30


def test_the_first_page_says_what_the_difference_decides(project):
    """Seeds differ by 0.01 and 0.03, and identities not at all: 2 points, and 1 or 3 with a seed drawn twice."""
    publish(project, "mobilenet_baseline", "constant", [0.4, 0.4])
    publish(project, "mobilenet_adaptive", "adaptive", [0.41, 0.43])
    first, second = tables.findings(published(project))
    assert (first.verdict, second.verdict) == ("holds", "not run")
    assert first.measured == "+2.0 (+1.0 to +3.0) points of mAP: 42.0 ± 1.4 against 40.0 ± 0.0 %"
    assert first.on == "Market-1501, MobileNet 0.25, 2 trainings of each"
    text = (project / "README.md").read_text()
    assert text.count("| holds") == 1 and "`make train-adaptive_l2 PRESET=mobilenet_adaptive`" in text
    publish(project, "mobilenet_adaptive", "adaptive", [0.5, 0.5], converged=False)
    verdicts = [finding.verdict for finding in tables.findings(published(project))]
    assert verdicts == ["undecided: not converged", "not run"]
