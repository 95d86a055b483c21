from dataclasses import replace

from common.experiments.config import to_json
from common.report.tables import publish, published
from l2_autoencoder import tables
from l2_autoencoder.config import PRESETS


def test_published_numbers_reach_the_readme(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    monkeypatch.setattr(tables, "HERE", tmp_path)
    record = {"normalization": "l2", "seed": 0, "accuracy": 0.9, "nmi": 0.8, "ari": 0.7, "reconstruction_error": 0.01}
    record |= {"accuracy_most_accurate_start": 0.95, "inertia_excess_of_most_accurate_start": 0.0012}
    records = [record, {**record, "seed": 1, "accuracy": 0.92}]
    publish(tmp_path, replace(PRESETS["usps_conv_l2"][1], name="usps_conv_l2", seeds=(0, 1), epochs=150), records)
    tables.renew_readme()
    lines = readme.read_text().splitlines()
    (line,) = [line for line in lines if "`usps_conv_l2`" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["`usps_conv_l2`", "91.35", "91.00 ± 1.41", "90.0 92.0", "0.800 ± 0.000", "0.700 ± 0.000",
                     "0.0100 ± 0.0000", "150 of 200"]  # fmt: skip
    (line,) = [line for line in lines if "`mnist_conv_l2`" in line]
    assert "not run" in line
    publish(tmp_path, replace(PRESETS["usps_conv_l2"][1], name="study_batch", batch_size=64), records[:1])
    tables.renew_readme()
    lines = readme.read_text().splitlines()
    for name, expected in (
        (
            "usps_conv_l2",
            "epochs 150 | 91.00 ± 1.41 | 90.0 92.0 | 0.800 ± 0.000 | 0.0100 ± 0.0000 | 95.0 95.0 | 0.12 0.12",
        ),
        ("study_batch", "batch_size 64 | 90.00 | 90.0 | 0.800 | 0.0100 | 95.0 | 0.12"),
    ):
        line = [line for line in lines if f"`{name}`" in line][-1]
        assert [cell.strip() for cell in line.strip("|").split("|")][1:] == expected.split(" | ")


def test_published_runs_have_the_settings_of_their_presets():
    results = published(tables.HERE)
    assert {f"usps_conv_{name}" for name in ("none", "batch", "layer", "l2")} <= set(results)
    for name in set(results) & set(PRESETS):
        config, preset = results[name]["config"], to_json(PRESETS[name][1])
        # The tables tell these two.
        differing = {field for field in config if config[field] != preset[field]} - {"name", "epochs", "seeds"}
        assert config["name"] == name and not differing, f"{name} was run with another {differing}"
