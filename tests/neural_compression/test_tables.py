"""The tables: rows of the publication, and ours next to classical codecs."""

from dataclasses import asdict

import numpy as np

from neural_compression import tables
from neural_compression.config import DATA, PRESETS, ROWS, SHIPPED
from neural_compression.evaluation.rate_distortion import Point, bd_rate
from neural_compression.paper_results import LEFT_OUT, PAPER, TARGET_BPP


def test_each_row_of_the_tables_is_a_preset_that_differs_by_its_part():
    assert PAPER.keys() == ROWS.keys()
    assert ROWS["baseline"][1].code_lengths == (216,) and ROWS["deblocking"][1].code_lengths == (64, 216, 368)
    for name, (_, config) in ROWS.items():
        assert tables.paper_row(config) == name
        assert tables.paper_row(PRESETS[f"narrow_{name}"][1]) == name
        assert (config.width, config.batch_size, config.learning_rate) == (64, 256, 1e-3)
    assert tables.paper_row(SHIPPED) is None


def test_every_row_of_the_tables_is_planned_or_left_out_with_a_reason():
    """Seven rows of Table 1 (pub), of which Table 4.1 has five; Table 4.2 adds four, and one that trains nothing."""
    assert len(PAPER) == 7 + 4
    for row in PAPER:
        assert DATA[row] == {"data_dir": "clic2018/train", "test_dir": "clic2018/valid"}
        assert DATA[f"narrow_{row}"] == {"data_dir": "bsds500", "test_dir": "kodak"}
    assert len(DATA) == 2 * 11 + len(("demo", "shipped", "convolutions"))
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
