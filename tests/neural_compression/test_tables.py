"""The tables: rows of the publication, ours next to classical codecs, and what is published of a run."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np

from common.report.tables import published
from neural_compression import tables
from neural_compression.config import DATA, DEMO, PRESETS, ROWS, SHIPPED
from neural_compression.evaluation import classical
from neural_compression.evaluation.rate_distortion import Point, bd_rate
from neural_compression.paper_results import LEFT_OUT, PAPER, TARGET_BPP
from tests.helpers import empty_pages


def test_each_row_of_the_tables_is_a_preset_that_differs_by_its_part():
    assert PAPER.keys() == ROWS.keys()
    assert ROWS["baseline"][1].code_lengths == (216,) and ROWS["deblocking"][1].code_lengths == (64, 216, 368)
    for name, (_, config) in ROWS.items():
        assert tables.paper_row(config) == name
        assert tables.paper_row(PRESETS[f"narrow_{name}"][1]) == name
        assert (config.width, config.batch_size, config.learning_rate) == (64, 256, 1e-3)
    assert tables.paper_row(SHIPPED) is None


def test_every_row_of_the_tables_is_planned_or_left_out_with_a_reason():
    """Seven rows of Table 1 (pub), of which Table 4.1 has five; one of the text, at 236 bits; Table 4.2 adds four."""
    assert len(PAPER) == 7 + 1 + 4
    for row in PAPER:
        assert DATA[row] == {"data_dir": "clic2018/train", "test_dir": "clic2018/valid"}
        assert DATA[f"narrow_{row}"] == {"data_dir": "bsds500", "test_dir": "kodak"}
    assert len(DATA) == 2 * 12 + len(("demo", "shipped"))
    tables_of = [row.split(":")[0] for row in LEFT_OUT]
    assert tables_of == ["Table 4.2", *["Table 4.3"] * 3] and all(LEFT_OUT.values())


def test_comparison_is_sorted_and_has_the_rate_difference():
    def line(offset):
        return [Point(None, rate, offset + 10 * np.log10(rate), 0.0) for rate in (0.12, TARGET_BPP, 0.18, 0.22)]

    theirs, ours = line(40.0), line(41.0)
    record = {"at_rate": asdict(ours[1]), "curve": [asdict(p) for p in ours], "optimized": {"code": asdict(ours[2])}}
    text = tables.comparison_table([record], {"JPEG": [asdict(p) for p in theirs], "slow": []})
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()[2:]]
    assert [row[0] for row in rows] == ["JPEG", "ours", "ours, codes optimized"]
    assert rows[0][-1] == f"{bd_rate(theirs, ours):.0f}" == "-21"  # 1 dB by this line is a factor of 10^0.1
    few = tables.comparison_table([record], {"JPEG": [asdict(theirs[1])]})
    assert few.splitlines()[2].split("|")[-2].strip() == "–"


def point(start):
    """Numbers that are all different."""
    values = {"bits_per_pixel": start / 100, "dataset_psnr": start, "mean_psnr": start + 0.5, "ms_ssim": start / 1000}
    return {"setting": None, **values}


def record(lengths, start, **more):
    networks = {
        str(length): {"publication": point(start + 10 * i), "context": point(start + 10 * i + 5)}
        for i, length in enumerate(lengths)
    }
    return {"seed": 0, "networks": networks, "by_quality": point(start + 50), "at_rate": point(start + 60)} | more


def rows_of(text):
    """Of the first table in a text, its first line aside."""
    lines = [line for line in text.split("\n\n")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_table_of_a_run_has_the_mean_of_its_codecs():
    """Two of them, 1 dB apart: a deviation of 0.71."""
    optimized = {"optimized": {"code": point(80), "encoder": point(90)}}
    records = [record((64, 216), 20, **optimized), record((64, 216), 21, **optimized)]
    rows = rows_of(tables.run_table(replace(DEMO, code_lengths=(64, 216)), records))
    assert [row[:2] for row in rows] == [
        ["64 bits for each block", "publication"],
        ["64 bits for each block", "context"],
        ["216 bits for each block", "publication"],
        ["216 bits for each block", "context"],
        ["the shortest that reaches a PSNR, the same for all blocks, at 0.151 or the lowest rate", "publication"],
        ["one λ for all photographs", "context"],
        ["one λ, codes optimized", "context"],
        ["one λ, encoder optimized per block", "context"],
    ]
    middles = [20.5, 25.5, 30.5, 35.5, 70.5, 80.5]
    expected = [
        [f"{m:.2f} ± {d:.2f}", f"{m + 0.5:.2f} ± {d:.2f}", f"{m / 1000:.4f} ± {d / 1000:.4f}", f"{m / 100:.3f} ± {e}"]
        for m, d, e in [*((m, 0.5**0.5, "0.007") for m in middles), *((m, 0, "0.000") for m in (80, 90))]
    ]
    assert [row[2:] for row in rows] == expected


def test_table_of_a_row_has_the_publications_number():
    """One network has no choices."""
    for name, sentence in (
        ("narrow_baseline", "The publication has 27.055 dB at 0.151 bits per pixel on CLIC 2018."),
        ("batch_normalization", "The publication has 26.882 dB on CLIC 2018."),
    ):
        text = tables.run_table(PRESETS[name][1], [record((216,), 20)])
        assert [row[0] for row in rows_of(text)] == ["216 bits for each block"] * 2
        assert text.endswith(f"\n\n{sentence}")
    assert "The publication" not in tables.run_table(replace(DEMO, code_lengths=(64, 216)), [record((64, 216), 20)])


def test_classical_codecs_without_a_point_at_the_rate_are_left_out():
    line = [asdict(Point(None, rate, 20 + rate, 21.0)) for rate in (0.12, 0.18, 0.22, 0.3)]
    text = tables.comparison_table([{"at_rate": point(15), "curve": line}], {"JPEG": line})
    assert [row[0] for row in rows_of(text)] == ["ours"]


def test_published_runs_stand_in_the_readme(tmp_path, monkeypatch):
    """Rows of one network have its numbers in the publication's way, others those of its choice of networks."""
    page = empty_pages(tmp_path)
    copied, others = [], {"JPEG": [point(14.8) | {"bits_per_pixel": TARGET_BPP}]}
    monkeypatch.setattr(tables, "HERE", tmp_path)
    monkeypatch.setattr(classical, "curves", lambda images, folder: others if folder == tmp_path else None)
    monkeypatch.setattr(classical, "equal_rates", lambda images, folder: {})
    monkeypatch.setattr(tables.tables, "copy_figures", lambda *arguments: copied.append(arguments))
    for name, lengths in (("narrow_baseline", (216,)), ("multiple", (64, 216, 368)), ("shipped", SHIPPED.code_lengths)):
        config = replace(PRESETS[name][1], name=name)
        records = [record(lengths, 20, curve=[]), record(lengths, 22, curve=[])]
        data, run = SimpleNamespace(test=[]), tmp_path / name
        tables.publish(SimpleNamespace(run=run, config=config, data=data, records=records))
    assert copied == [(tmp_path / "shipped", tmp_path, tables.FIGURES)]
    trials = published(tmp_path)["shipped"]["trials"]
    assert trials[0]["classical"] == others and "classical" not in trials[1]
    assert not {"data_dir", "test_dir", "runs_dir"} & published(tmp_path)["shipped"]["config"].keys()
    text = page.read_text()
    parts = [text.index(f"**Preset `{name}`**") for name in ("shipped", "demo")]
    assert parts[0] < parts[1] < text.index("**Tables 4.1 and 4.2**")
    assert "**Preset `demo`**: not run." in text
    assert all(f"](figures/{name})" in text for name in tables.FIGURES)
    rows = {row[0]: row[1:] for row in rows_of(text.split("**Tables 4.1 and 4.2**\n\n")[1])}
    assert list(rows) == ["`baseline`", "`multiple`"]
    others = [f"`{name}`" for name in ROWS if name not in ("baseline", "multiple")]
    assert f"Rows that are not run: {', '.join(others)}. The last row of Table 4.2" in text
    baseline = ["Tables 4.1 and 4.2: baseline", "27.055", "0.151", "not run", "–", "21.00 ± 1.41", "0.210 ± 0.014"]
    multiple = ["27.691", "–", "71.00 ± 1.41", "0.710 ± 0.014", "not run", "–"]
    assert rows["`baseline`"] == baseline and rows["`multiple`"][1:] == multiple
    shipped = rows_of(text.split("**Preset `shipped`**\n\n")[1])
    assert [row[0] for row in shipped[:8:2]] == [f"{length} bits for each block" for length in SHIPPED.code_lengths]
    assert "| JPEG " in text and "| ours " in text


def test_gains_are_those_of_photographs_at_one_rate():
    """2 dB and 4 dB above JPEG on two photographs: 3 on average, and 2 or 4 where one is in a resample twice."""
    record = {"equal_rate": [24.0, 26.0, 30.0], "equal_rate_escape": [25.0, 26.0, None]}
    record["classical_equal_rate"] = {"JPEG": [22.0, 22.0, None], "WebP": [26.0, 27.0, 30.0], "slow": [None] * 3}
    findings = tables.findings({"shipped": {"trials": [record]}})
    assert [(finding.verdict, finding.measured) for finding in findings] == [
        ("holds", "+3.00 (+2.00 to +4.00) dB: mean PSNR 25.00 against 22.00"),
        ("does not hold", "-1.00 (-1.00 to -1.00) dB: mean PSNR 25.50 against 26.50"),
        ("not run", "–"),
    ]
    assert findings[0].on == "2 photographs of Kodak, one codec"
    assert {finding.verdict for finding in tables.findings({})} == {"not run"}
    rows = rows_of(tables.equal_rate_table(record, record["classical_equal_rate"]))
    assert rows == [
        ["JPEG", "22.00", "2", "+3.00 (+2.00 to +4.00)", "+3.50 (+3.00 to +4.00)"],
        ["WebP", "27.67", "3", "-1.00 (-2.00 to +0.00)", "-1.00 (-1.00 to -1.00)"],
    ]


def test_networks_that_miss_the_rate_have_no_gain():
    """A mean and an interval need two photographs that both codecs reach the rate on."""
    record = {"equal_rate": [None, 26.0, None], "equal_rate_escape": [None, 26.0, 28.0]}
    rows = rows_of(tables.equal_rate_table(record, {"JPEG": [21.0, 22.0, 26.0]}))
    assert rows == [["JPEG", "23.00", "3", "–", "+3.00 (+2.00 to +4.00)"]]
