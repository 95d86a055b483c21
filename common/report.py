"""From a run's numbers to `report.md`, `report.json` and the results tables of a README."""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_json, write_text


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, padded so that the source reads as one too; `None` becomes a dash.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    """
    cells = [[str(name) for name in columns]]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"Expected {len(columns)} cells for columns {list(columns)}, got {list(row)}.")
        cells.append(["–" if cell is None else str(cell) for cell in row])
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def mean_std(values: Sequence[float], decimals: int = 2) -> str | None:
    """`mean ± sample standard deviation`; one value alone has no deviation, none give None."""
    if len(values) == 0:
        return None
    mean = f"{np.mean(values):.{decimals}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{decimals}f}"


def write_report(run: Path, title: str, sections: Mapping[str, str], figures: Mapping[str, str], values: Any) -> None:
    """Writes `report.md` and `report.json` into a run folder and prints the sections.

    Args:
        run: the run folder.
        title: first line.
        sections: heading -> Markdown.
        figures: path below the run folder -> caption.
        values: every number behind the sections, for programs.
    """
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items())
    pictures = "".join(f"\n\n![{caption}]({path})\n\n*{caption}*" for path, caption in figures.items())
    write_json(run / "report.json", values)
    write_text(run / "report.md", f"# {title}\n\n{body}{pictures}\n")
    print(f"\n{title}\n\n{body}\n\nReport and figures: {run / 'report.md'}")


def made_once(path: Path, sources: Sequence[Path], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record that `make` returns, made anew only if the contents of `sources` are not what it was made from.

    Args:
        path: JSON file that keeps the record; its field `made_from` tells the contents apart.
        sources: files that the record is a function of: weights, code.
        make: makes the record.
    """
    made_from = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("made_from") == made_from:
            return record
    record = {**make(), "made_from": made_from}
    write_json(path, record)
    return record


def publish(
    path: Path, name: str, config: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], left_out: Collection[str]
) -> None:
    """Keeps a run's config and the numbers of its trials under its name in a project's `results.json`.

    Fields whose names are in `left_out`, and `made_from`, are not kept.
    """

    def kept(values: Mapping[str, Any]) -> dict[str, Any]:
        return {field: value for field, value in values.items() if field not in (*left_out, "made_from")}

    results = published(path) | {name: {"config": kept(config), "trials": [kept(trial) for trial in trials]}}
    write_json(path, dict(sorted(results.items())))


def keep_figures(run: Path, project: Path, names: Sequence[str]) -> None:
    """Copies figures of a run to the folder of its project, whose README shows them."""
    for name in names:
        (project / "figures").mkdir(exist_ok=True)
        shutil.copyfile(run / "figures" / name, project / "figures" / name)


def published(path: Path) -> dict[str, Any]:
    """Run name -> its config and the numbers of its trials, as `publish` keeps them."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def update_between(path: Path, name: str, text: str) -> None:
    """Replaces what stands between `<!-- name:begin -->` and `<!-- name:end -->` in a file.

    Raises:
        ValueError: the file does not have each mark once, in that order.
    """
    content = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, _, rest = content.partition(begin)
    _, _, tail = rest.partition(end)
    if content.count(begin) != 1 or content.count(end) != 1 or end not in rest:
        raise ValueError(f"{path} must have the marks {begin} and {end} once each, in that order.")
    write_text(path, f"{head}{begin}\n{text}\n{end}{tail}")
