from dataclasses import replace

from common.experiments.config import to_json
from common.report.tables import publish, published
from l2_autoencoder import tables
from l2_autoencoder.config import DATA, PRESETS
from l2_autoencoder.paper_results import BORROWED_ACCURACY, BORROWED_AUC, LEFT_OUT, PAPER_ACCURACY, PAPER_AUC
from tests.helpers import empty_pages


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_published_numbers_reach_the_readme(tmp_path, monkeypatch):
    readme = empty_pages(tmp_path)
    monkeypatch.setattr(tables, "HERE", tmp_path)
    record = {"normalization": "l2", "seed": 0, "accuracy": 0.9, "nmi": 0.8, "ari": 0.7, "reconstruction_error": 0.01}
    record |= {"accuracy_most_accurate_start": 0.95, "inertia_excess_of_most_accurate_start": 0.0012}
    records = [record, {**record, "seed": 1, "accuracy": 0.92}]
    publish(
        tmp_path, PRESETS, replace(PRESETS["usps_conv_l2"][1], name="usps_conv_l2", seeds=(0, 1), epochs=150), records
    )
    tables.renew_pages()
    lines = readme.read_text().splitlines()
    (line,) = [line for line in lines if "`usps_conv_l2`" in line]
    measured = ["91.00 ± 1.41", "90.0 92.0", "0.800 ± 0.000", "0.700 ± 0.000", "0.0100 ± 0.0000", "150 of 200"]
    assert cells(line) == ["CAE L2, USPS", "`usps_conv_l2`", "91.35", *measured, "–", "–", "–"]
    (line,) = [line for line in lines if "`mnist_conv_l2`" in line]
    assert cells(line)[2:4] == ["95.11", "–"]
    (line,) = [line for line in lines if "| DCEC, USPS" in line]  # borrowed, so nothing of ours
    assert cells(line) == ["DCEC, USPS", "–", "79.00", *["–"] * 9]
    publish(tmp_path, PRESETS, replace(PRESETS["usps_conv_l2"][1], name="study_batch", batch_size=64), records[:1])
    tables.renew_pages()
    lines = readme.read_text().splitlines()
    for name, expected in (
        (
            "usps_conv_l2",
            "epochs 150 | 91.00 ± 1.41 | 90.0 92.0 | 0.800 ± 0.000 | 0.0100 ± 0.0000 | 95.0 95.0 | 0.12 0.12",
        ),
        ("study_batch", "batch_size 64 | 90.00 | 90.0 | 0.800 | 0.0100 | 95.0 | 0.12"),
    ):
        line = [line for line in lines if f"`{name}`" in line][-1]
        assert cells(line)[1:] == expected.split(" | ")
    split = replace(PRESETS["usps_conv_l2_train"][1], name="usps_conv_l2_train", seeds=(0,))
    publish(tmp_path, PRESETS, split, records[1:])
    tables.renew_pages()
    (line,) = [line for line in readme.read_text().splitlines() if "| CAE L2, USPS" in line]
    assert cells(line)[3] == "91.00 ± 1.41" and cells(line)[-3:] == ["92.00", "92.0", "200 of 200"]


def test_reconstruction_column_of_the_publication_is_of_the_autoencoder_with_the_constraint():
    """Section IV-B (pub): "again we train the auto-encoder with l2 normalization constraint"."""
    scores = {"none": (0.11, 0.12, 0.13), "l2": (0.21, 0.22, 0.23)}
    names = ("auc_reconstruction", "auc_cluster", "auc_cluster_cosine")
    records = [
        {"normalization": normalization, "seed": 0, "abnormal_digit": 1, **dict(zip(names, values))}
        for normalization, values in scores.items()
    ]
    config = replace(PRESETS["anomaly_mnist"][1], abnormal_digits=(1,))
    header, _, row, *_ = tables.run_table(config, records).splitlines()
    assert list(zip(cells(header), cells(row)))[2:] == [
        ("CAE L2 recons, paper", "0.0782"), ("CAE L2 recons", "0.2100"), ("CAE recons", "0.1100"),
        ("CAE cluster, paper", "0.8871"), ("CAE cluster", "0.1200"), ("CAE cluster, cosine", "0.1300"),
        ("CAE L2 cluster, paper", "0.9673"), ("CAE L2 cluster", "0.2200"),
        ("AE recons, paper", "0.135"), ("VAE recons, paper", "0.136"),
    ]  # fmt: skip


def test_scores_of_anomalies_are_compared_over_digits_and_partitions():
    """Under the constraint the area is 0.1 larger for one digit and 0.3 for the other, whatever the partition."""
    config = replace(PRESETS["anomaly_mnist"][1], abnormal_digits=(1, 7), seeds=(0, 1))
    records = []
    for seed in config.seeds:
        for digit, gain in ((1, 0.1), (7, 0.3)):
            for normalization, area in (("none", 0.5 + seed / 10), ("l2", 0.5 + seed / 10 + gain)):
                areas = {"auc_reconstruction": 0.4, "auc_cluster": area, "auc_cluster_cosine": area}
                records.append({"normalization": normalization, "seed": seed, "abnormal_digit": digit, **areas})
    rows = [cells(line) for line in tables.anomaly_table(config, records).splitlines()[2:]]
    assert rows[0] == ["CAE L2 cluster against CAE cluster", "+20.0 (+10.0 to +30.0)", "higher"]
    assert [row[0] for row in rows[1:]] == [
        "CAE L2 cluster against CAE cluster, cosine", "CAE L2 cluster against CAE L2 recons"
    ]  # fmt: skip
    one = replace(config, abnormal_digits=(1,))
    assert tables.anomaly_table(one, [r for r in records if r["abnormal_digit"] == 1]) == ""


def test_every_row_of_the_publications_tables_is_planned_or_left_out_with_a_reason():
    rows = {}
    for (dataset, architecture, normalization), accuracy in PAPER_ACCURACY.items():
        for split, suffix in (("all", ""), ("train", "_train")):
            name = f"{dataset}_{'conv' if architecture == 'convolutional' else 'dense'}_{normalization}{suffix}"
            text, config = PRESETS[name]
            assert f"{accuracy:.2f}" in text and config.normalizations == (normalization,)
            assert (config.dataset, config.architecture, config.split) == (dataset, architecture, split)
            assert config.placement == "embedding"  # "instead of" the L2 normalization
            assert config.epochs == {"convolutional": 200, "dense": 100}[architecture] and config.batch_size == 256
            rows[name] = {"data_dir": dataset}
    assert len(rows) == 20
    rows["anomaly_mnist"] = rows["mnist_figure1"] = {"data_dir": "mnist"}
    assert rows | {"demo": {}} == DATA
    anomaly, figure = PRESETS["anomaly_mnist"][1], PRESETS["mnist_figure1"][1]
    assert set(anomaly.abnormal_digits) == set(PAPER_AUC) == set(BORROWED_AUC)
    assert len(anomaly.seeds) == 10 and anomaly.normalizations == figure.normalizations == ("none", "l2")
    assert figure.split == "train" and not figure.abnormal_digits
    borrowed = {method.removesuffix(", k-means") for methods in BORROWED_ACCURACY.values() for method in methods}
    assert {name.strip() for row in LEFT_OUT for name in row.split(":")[1].split(",")} == borrowed | {"AE", "VAE"}
    assert all(LEFT_OUT.values())


def test_published_runs_have_the_settings_of_their_presets():
    results = published(tables.HERE)
    assert {f"usps_conv_{name}" for name in ("none", "batch", "layer", "l2")} <= set(results)
    for name in set(results) & set(PRESETS):
        config, preset = results[name]["config"], to_json(PRESETS[name][1])
        # The tables tell these two.
        differing = {field for field in config if config[field] != preset[field]} - {"name", "epochs", "seeds"}
        assert config["name"] == name and not differing, f"{name} was run with another {differing}"


def test_the_first_page_says_what_the_differences_decide():
    """Of the demo's interval; under the constraint areas are 0.1 larger for one digit and 0.3 for the other."""
    trials = [
        {"normalization": kind, "seed": seed, "accuracy": accuracy}
        for kind, accuracy in (("l2", 0.8), ("none", 0.7))
        for seed in (0, 1)
    ]
    difference = {"first": "l2", "second": "none", "value": 0.1, "low": 0.05, "high": 0.15}
    areas = [
        {"normalization": kind, "seed": seed, "abnormal_digit": digit}
        | {"auc_reconstruction": 0.9, "auc_cluster": 0.5 + (gain if kind == "l2" else 0), "auc_cluster_cosine": 0.5}
        for seed in (0, 1)
        for digit, gain in ((1, 0.1), (7, 0.3))
        for kind in ("l2", "none")
    ]
    config = to_json(replace(PRESETS["anomaly_mnist"][1], abnormal_digits=(1, 7), seeds=(0, 1), epochs=5))
    run = {"preset": "anomaly_mnist", "changed": ["epochs"], "config": config, "trials": areas}
    demo = {"preset": "demo", "changed": [], "config": {}, "trials": trials, "differences": [difference]}
    findings = tables.findings({"demo": demo, "anomaly_mnist": run})
    assert findings[1].command == '`make train-l2_autoencoder PRESET=anomaly_mnist ARGS="--epochs 5"`'
    assert [(finding.verdict, finding.measured) for finding in findings] == [
        ("holds", "+10.0 (+5.0 to +15.0) points of accuracy: 80.0 ± 0.0 against 70.0 ± 0.0 %"),
        ("holds", "+20.0 (+10.0 to +30.0) points of ROC AUC"),
        ("does not hold", "-20.0 (-30.0 to -10.0) points of ROC AUC"),
    ]
    assert "2 partitions, 5 of 200 epochs" in findings[1].on
    assert [finding.verdict for finding in tables.findings({})] == ["not run", "not run"]
