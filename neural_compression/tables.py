"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.experiments import entry
from common.experiments.config import from_json
from common.report import pages, tables
from common.report.pages import Finding
from common.statistics import Interval, paired_difference

from .config import PRESETS, ROWS, Config
from .evaluation import classical
from .evaluation.rate_distortion import Point, bd_rate
from .paper_results import BASELINE_BPP, PAPER, PAPER_CODECS, PAPER_OPTIMIZED, TARGET_BPP

HERE = Path(__file__).parent
FIGURES = {
    "rate_distortion.png": "Rate and dataset PSNR of our files and of classical codecs' on Kodak's photographs.",
    "crops.png": "A part of the first photograph, coded with at most the bits that ours takes; where a codec can.",
    "networks.png": "The network that each of its blocks takes.",
}
_OPTIMIZED = {
    "code": "codes optimized",
    "code and escape": "codes optimized, with escape blocks",
    "encoder": "encoder optimized per block",
    "encoder and escape": "encoder optimized per block, with escape blocks",
}
_COLUMNS = ["coded by", "mode", "dataset PSNR (dB)", "mean PSNR (dB)", "MS-SSIM", "bits per pixel"]


def _cells(points: Sequence[dict[str, Any]]) -> list[str | None]:
    names = (("dataset_psnr", 2), ("mean_psnr", 2), ("ms_ssim", 4), ("bits_per_pixel", 3))
    values = [[p.get(name) for p in points] for name, _ in names]  # small images have no MS-SSIM
    return [None if None in each else tables.mean_std(each, decimals) for each, (_, decimals) in zip(values, names)]


def run_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table «paper | this run» of one run."""
    rows = []
    for length in map(str, config.code_lengths):
        for mode in ("publication", "context"):
            points = [record["networks"][length][mode] for record in records]
            rows.append([f"{length} bits for each block", mode, *_cells(points)])
    if len(config.code_lengths) > 1:
        points = [record["by_quality"] for record in records]
        rows.append(
            [
                f"the shortest that reaches a PSNR, the same for all blocks, at {BASELINE_BPP} or the lowest rate",
                "publication",
                *_cells(points),
            ]
        )
        rows.append(["one λ for all photographs", "context", *_cells([record["at_rate"] for record in records])])
        if "escape" in records[0]:
            points = [record["escape"] for record in records]
            rows.append(["one λ for all photographs, with escape blocks", "context", *_cells(points)])
        for how in records[0].get("optimized", ()):
            points = [record["optimized"][how] for record in records]
            rows.append([f"one λ, {_OPTIMIZED[how]}", "context", *_cells(points)])
    row = paper_row(config)
    table = tables.table(_COLUMNS, rows)
    if row not in PAPER:
        return table
    psnr, rate = PAPER[row]
    return (
        f"{table}\n\nThe publication has {psnr} dB" + (f" at {rate} bits per pixel" if rate else "") + " on CLIC 2018."
    )


def paper_row(config: Config) -> str | None:
    """The row of the publication that a run is, at whatever width."""
    names = ("code_lengths", "binarization", "alternate", "normalization", "entropy_weight", "half_overlapping")
    stages = ("expert_epochs", "decoder_epochs", "deblocking_epochs")
    for name, (_, known) in ROWS.items():
        alike = not config.closed_form and all(getattr(known, field) == getattr(config, field) for field in names)
        if alike and all(bool(getattr(known, field)) == bool(getattr(config, field)) for field in stages):
            return name
    return None


def comparison_table(records: Sequence[dict[str, Any]], others: dict[str, list[dict[str, Any]]]) -> str:
    """Ours and the classical codecs on the same photographs at the rate of Table 4.3, by dataset PSNR.

    The last column is how much more of a classical codec's rate ours takes at equal dataset PSNR, on average.
    """
    rows = [["ours", *_cells([record["at_rate"] for record in records]), None]]
    if "escape" in records[0]:
        rows.append(["ours, with escape blocks", *_cells([record["escape"] for record in records]), None])
    for how in records[0].get("optimized", ()):
        rows.append([f"ours, {_OPTIMIZED[how]}", *_cells([r["optimized"][how] for r in records]), None])
    for name, points in others.items():
        at_rate = [point for point in points if point["bits_per_pixel"] == TARGET_BPP]
        rows += [[name, *_cells(at_rate), _bd_rate(points, records)] for _ in at_rate]
    rows.sort(key=lambda row: float(row[1].split()[0]))
    return tables.table(["codec", *_COLUMNS[2:], "BD-rate of ours (%)"], rows)


def _bd_rate(reference: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> str | None:
    """Over all codecs of a run; none where the curves share too little."""
    try:
        return tables.mean_std([bd_rate(_points(reference), _points(r["curve"])) for r in records], 0)
    except ValueError:
        return None


def _points(values: Sequence[dict[str, Any]]) -> list[Point]:
    return [Point(**value) for value in values]


def publish(results: entry.Results) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the project's pages."""
    others = classical.curves(results.data.test, results.run.parent)
    equal = classical.equal_rates(results.data.test, results.run.parent)
    first = results.records[0] | {"classical": others, "classical_equal_rate": equal}
    records = [first, *results.records[1:]]
    tables.publish(HERE, PRESETS, results.config, records)
    if results.config.name == "shipped":  # judged by Kodak's photographs, which may be handed on
        tables.copy_figures(results.run, HERE, FIGURES)
    renew_pages()


def renew_pages() -> None:
    """Writes the findings of all published runs into the README, and their tables into RESULTS."""
    results = tables.published(HERE)
    sections = [_run_section(results, "shipped"), _run_section(results, "demo"), _paper_table(results)]
    pages.renew(HERE, findings(results), sections)


def findings(results: dict[str, Any]) -> list[Finding]:
    """What the codec that ships says of the publication's claims, where each photograph's file has one rate."""
    claims = (
        (f"better than JPEG at {TARGET_BPP} bits per pixel, networks alone", "equal_rate", "JPEG"),
        ("with escape blocks, which are not the publication's, better than WebP", "equal_rate_escape", "WebP"),
        ("and better than AVIF", "equal_rate_escape", "AVIF"),
    )
    command = pages.command(__package__, "shipped")
    record = results["shipped"]["trials"][0] if "shipped" in results else {}
    rows = []
    for claim, own, other in claims:
        theirs = record.get("classical_equal_rate", {}).get(other)
        if theirs is None:
            rows.append(Finding.not_run(claim, "Kodak", command))
            continue
        gain, means, count = _gain(record[own], theirs)
        measured = f"{gain.text(2, 1)} dB: mean PSNR {means[0]:.2f} against {means[1]:.2f}"
        rows.append(Finding(claim, pages.verdict(gain), measured, f"{count} photographs of Kodak, one codec", command))
    return rows


def _gain(ours: Sequence[float | None], theirs: Sequence[float | None]) -> tuple[Interval, tuple[float, float], int]:
    """How much higher a PSNR is over the photographs that both reach: with an interval, both means, and how many."""
    pairs = np.array([pair for pair in zip(ours, theirs) if None not in pair], float)  # (N, 2)
    return paired_difference(*pairs.T), tuple(pairs.mean(0)), len(pairs)


def rate_tables(
    records: Sequence[dict[str, Any]],
    others: dict[str, list[dict[str, Any]]],
    equal: dict[str, list[float | None]],
) -> dict[str, str]:
    """The sections of a report that compare ours with classical codecs, heading -> table."""
    return {
        f"At {TARGET_BPP} bits per pixel": comparison_table(records, others),
        f"At {TARGET_BPP} bits per pixel for each photograph": equal_rate_table(records[0], equal),
    }


def equal_rate_table(record: dict[str, Any], others: dict[str, list[float | None]]) -> str:
    """The mean PSNR of photographs that each have a file of the rate of Table 4.3, and by how much ours is higher.

    Photographs are those that a classical codec reaches the rate on; a difference is over those that ours reaches too,
    and left out where these are fewer than two.
    """
    rows = []
    for name, theirs in others.items():
        reached = [value for value in theirs if value is not None]
        if len(reached) < 2:
            continue
        cells: list[str | None] = []
        for own in (record["equal_rate"], record["equal_rate_escape"]):
            shared = sum(None not in pair for pair in zip(own, theirs))
            cells.append(_gain(own, theirs)[0].text(2, 1) if shared > 1 else None)
        rows.append([name, f"{np.mean(reached):.2f}", len(reached), *cells])
    rows.sort(key=lambda row: float(row[1]))
    columns = ["codec", "mean PSNR (dB)", "photographs", "ours less it (dB)", "ours, with escape blocks, less it (dB)"]
    return tables.table(columns, rows)


def _run_section(results: dict[str, Any], name: str) -> str:
    if name not in results:
        return f"**Preset `{name}`**: not run."
    config, records = from_json(results[name]["config"], Config), results[name]["trials"]
    parts = [run_table(config, records), comparison_table(records, records[0]["classical"])]
    if "classical_equal_rate" in records[0]:
        parts.append(f"The same rate for each photograph's own file, {TARGET_BPP}, with intervals over photographs:")
        parts.append(equal_rate_table(records[0], records[0]["classical_equal_rate"]))
    pictures = tables.pictures(FIGURES if name == "shipped" else {})
    return "\n\n".join([f"**Preset `{name}`**", *parts, *pictures])


def _paper_table(results: dict[str, Any]) -> str:
    """Tables 4.1 and 4.2; a cell nobody measured says so."""

    def ours(name: str, single: bool) -> list[str | None]:
        if name not in results:
            return ["not run", None]
        trials = results[name]["trials"]
        points = [next(iter(t["networks"].values()))["publication"] if single else t["by_quality"] for t in trials]
        cells = _cells(points)
        return [cells[0], cells[-1]]

    rows, missing = [], []
    for row, (description, config) in ROWS.items():
        if not {row, f"narrow_{row}"} & results.keys():
            missing.append(f"`{row}`")
            continue
        psnr, rate = PAPER[row]
        single = len(config.code_lengths) == 1
        rows.append([f"`{row}`", description, f"{psnr:.3f}", rate, *ours(row, single), *ours(f"narrow_{row}", single)])
    columns = ["preset", "row", "paper (dB)", "bpp", "ours (dB)", "bpp", "ours at an eighth of the width (dB)", "bpp"]
    codecs = ", ".join(f"{name} {psnr:.3f} dB at {rate}" for name, (psnr, rate) in PAPER_CODECS.items())
    psnr, rate = PAPER_OPTIMIZED
    notes = [
        "The last two columns are presets `narrow_…`; codes are written the publication's way." if rows else "",
        f"Rows that are not run: {', '.join(missing)}." if missing else "",
        f"The last row of Table 4.2, code optimization, has {psnr} dB at {rate} bits per pixel, and Table 4.3, on "
        f"CLIC 2018's test set, {codecs}; not run here. The publication's other numbers are in "
        "[paper_results.py](paper_results.py).",
    ]
    parts = ["**Tables 4.1 and 4.2**", *([tables.table(columns, rows)] if rows else []), " ".join(filter(None, notes))]
    return "\n\n".join(parts)
