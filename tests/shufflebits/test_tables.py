"""Tables: what stands next to what."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.experiments.entry import Results
from common.report.tables import published
from shufflebits import tables
from shufflebits.attacks.encryption_settings import ANOTHER, BROKEN, BY_REQUEST, ONE_KEY, PLAIN, ZEROS
from shufflebits.config import DATA, PRESETS, RECONSTRUCTIONS
from shufflebits.paper_results import LEFT_OUT, PAPER, PLAN
from tests.helpers import empty_pages


def classifier(seed, attack="attributes"):
    settings = (PLAIN, ONE_KEY, BROKEN) if attack == "attributes" else (ONE_KEY, ZEROS)
    accuracies = {name: {"age": 0.4 + 0.1 * seed, "hat": 0.8} for name in settings}
    return {"attack": attack, "seed": seed, "chance": {"age": 0.25, "hat": 0.5}, "balanced_accuracy": accuracies}


def reconstructor(seed, attack, distance=0.1):
    distances = {PLAIN: distance + 0.02 * seed, ANOTHER: 0.5, ONE_KEY: 0.4, BROKEN: 0.1}
    return {"attack": attack, "seed": seed, "cosine_distance": distances}


RECORDS = [
    record
    for seed in range(2)
    for record in (
        classifier(seed),
        classifier(seed, "attributes_on_words"),
        *(reconstructor(seed, attack) for attack in RECONSTRUCTIONS),
    )
]
STUDY = [
    {
        "scheme": "one key", "vectors": count, "keys": 2, "exponents": 1.0, "numbers": 1.0, "mantissa_bits": 4.5,
        "bits": 14.0, "cosine": 0.999, "relinked": 1.0, "relinked_by_bit_counts": 0.9, "chance": 0.01,
        "recognized": 0.5, "recognized_by_bit_counts": None, "recognized_by_chance": 0.01, "seconds": 0.1,
    }
    for count in (3, 5)
]  # fmt: skip


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]


def test_attacks_by_what_is_stolen():
    rows = {row[0]: row[1:] for row in cells(tables.attack_table(RECORDS))}
    assert rows[PLAIN] == ["62.5 ± 3.5", *["0.1100 ± 0.0141"] * 3]
    assert rows[ONE_KEY] == ["62.5 ± 3.5", *["0.4000 ± 0.0000"] * 3]
    assert rows["ShuffleBits, a key for each party, trained on words"] == ["62.5 ± 3.5", "–", "–", "–"]
    assert rows[ZEROS] == ["62.5 ± 3.5", "–", "–", "–"]
    assert rows["chance, or the image of another"] == ["37.5", *["0.5000 ± 0.0000"] * 3]


def test_a_run_of_one_attack_has_its_table_too():
    rows = {row[0]: row[1:] for row in cells(tables.attack_table([reconstructor(0, "pixel")]))}
    assert rows[PLAIN] == ["–", "0.1000", "–", "–"] and ANOTHER not in rows
    rows = {row[0]: row[1:] for row in cells(tables.attack_table([classifier(0)]))}
    assert rows[PLAIN] == ["60.0", "–", "–", "–"] and rows["chance, or the image of another"][0] == "37.5"


def test_attributes_and_chance():
    assert cells(tables.attribute_table(RECORDS))[2:] == [
        ["age", "45.0 ± 7.1", "25.0"],
        ["hat", "80.0 ± 0.0", "50.0"],
    ]


@pytest.mark.parametrize(
    "preset, paper",
    [("market1501_bot", "0.09053"), ("market1501_sbs", "0.03421"), ("duke_agw", "0.2362"), ("mobilenet", "–")],
)
def test_paper_numbers_belong_to_their_models(preset, paper):
    rows = cells(tables.distance_table(PRESETS[preset][1], RECORDS))
    assert rows[2] == ["pixel", paper, "0.1100 ± 0.0141"]


def test_every_cell_of_the_publication_is_planned():
    """18 cells of Fig. 2.7 and six classifiers of Fig. 2.6; the same trainings meet encrypted features."""
    assert DATA.keys() <= PRESETS.keys()
    planned = {}
    for item, (dataset, attacks) in PLAN.items():
        presets = [
            PRESETS[f"{dataset}_{model}"][1] for model in PAPER[dataset]["pixel"] if f"{dataset}_{model}" in DATA
        ]
        assert [config.dataset for config in presets] == [dataset] * 3 and len({c.victim for c in presets}) == 3
        planned[item] = [
            (dataset, attack, config.victim) for config in presets for attack in attacks if attack in config.attacks
        ]
    numbers = [(d, attack, model) for d, attacks in PAPER.items() for attack, of in attacks.items() for model in of]
    assert sorted(planned["Fig. 2.7a"] + planned["Fig. 2.7b"]) == sorted(numbers) and len(numbers) == 18
    assert len(planned["Fig. 2.6a"]) == len(planned["Fig. 2.6b"]) == 3
    assert len(planned["section 2.4.3.4, Market-1501"]) == len(planned["section 2.4.3.4, DukeMTMC-reID"]) == 12


def test_what_is_left_out_is_listed():
    text = (Path(tables.__file__).parent / "FIDELITY.md").read_text()
    assert [item for item, reason in LEFT_OUT.items() if f"- {item}: {reason}." not in text] == []


def test_all_models_and_sets_in_one_table():
    """The publication's numbers stand in all 18 cells; ours where there is a run, and another model's next to them."""
    runs = {("duke", "agw"): RECORDS, ("market1501", "sbs"): RECORDS[2:3], ("synthetic", "trained"): RECORDS[:3]}
    header, _, *rows = cells(tables.comparison_table(runs))
    names = [f"{model}, {of}" for model in ("BoT", "AGW", "SBS") for of in ("paper", "ours")]
    assert header == ["local set", "losses", *names, "trained here, ours"]
    table = {(row[0], row[1]): dict(zip(header[2:], row[2:])) for row in rows}
    assert len(table) == 9
    losses = {"pixel": "pixel", "feature": "feature reconstruction"}
    losses["adversarial"] = "feature reconstruction + adversarial"
    for dataset, attacks in PAPER.items():
        for attack, models in attacks.items():
            for model, number in models.items():
                assert table[dataset, losses[attack]][f"{tables.MODELS[model]}, paper"] == f"{number:.5f}"
    ours = {(*key, model): cell for key, row in table.items() for model, cell in row.items() if model.endswith("ours")}
    assert {key: cell for key, cell in ours.items() if cell not in ("not run", "–")} == {
        **{("duke", loss, "AGW, ours"): "0.1100 ± 0.0141" for loss in losses.values()},
        ("market1501", "pixel", "SBS, ours"): "0.1000",
        ("synthetic", "pixel", "trained here, ours"): "0.1000",
    }
    assert list(ours.values()).count("not run") == 18 - 4


def test_publishing_saves_the_numbers_and_writes_the_readme(tmp_path, monkeypatch):
    page = empty_pages(tmp_path, "cipher")
    monkeypatch.setattr(tables, "HERE", tmp_path)
    for preset in ("duke_agw", "mobilenet"):
        config = replace(PRESETS[preset][1], name=preset, seeds=(0, 1))
        tables.publish(Results(tmp_path, config, None, len(RECORDS), [], RECORDS, None), STUDY)
    text, every = page.read_text().split("<!-- cipher:begin -->")
    rows = {(row[0], row[1]): row[2:] for row in cells(text)}
    assert rows["duke", "pixel"] == ["0.10543", "not run", "0.23620", "0.1100 ± 0.0141", "0.04229", "not run"]
    assert rows["market1501", "pixel"] == ["0.09053", "not run", "0.17465", "not run", "0.03421", "not run"]
    for part in ("what encryption buys** Seeds 0, 1.", "Synthetic people, `make train-shufflebits`**: not run."):
        assert part in text
    assert "data_dir" not in published(tmp_path)["mobilenet"]["config"]
    # The first table has what matters, the other one all rows.
    assert ("one key", "5") in rows and ("one key", "3") not in rows
    assert [row[:2] for row in cells(every)[2:]] == [["one key", "3"], ["one key", "5"]] and "Not run." in every


def test_the_first_page_says_what_leaks():
    """Plain features and those of a broken cipher are above what exchanging attributes gives, encrypted ones not."""
    null = {"mean": 0.4, "low": 0.35, "high": 0.45, "p": 0.001}
    accuracies = {PLAIN: 0.6, ONE_KEY: 0.44, BY_REQUEST: 0.46, BROKEN: 0.6}
    record = classifier(0) | {
        "balanced_accuracy": {name: {"age": value} for name, value in accuracies.items()},
        "certainty": {
            name: {"interval": [value - 0.1, value + 0.1], "null": null} for name, value in accuracies.items()
        },
    }
    run = {"preset": "demo", "changed": [], "config": {}}
    findings = tables.findings({"mobilenet": run | {"trials": [classifier(0)]}, "demo": run | {"trials": [record]}})
    assert [finding.verdict for finding in findings] == ["holds", "holds", "does not hold", "does not hold"]
    assert findings[0].measured == "balanced accuracy 60.0 (50.0 to 70.0) %, by chance 40.0 (35.0 to 45.0)"
    assert findings[0].on == "synthetic people, 1 attack model"
    assert {finding.verdict for finding in tables.findings({})} == {"not run"}
