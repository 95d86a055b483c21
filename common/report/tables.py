"""From a run's numbers to `report.md`, `report.html`, `report.json` and the tables of a project's pages."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from common.experiments.config import RunConfig, from_json, to_json
from common.files import write_json, write_text
from common.report import html
from common.report.charts import Charts, training_charts
from common.report.page_parts import RankedLists, Slider
from common.statistics import Interval


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, padded so that the source reads as one too; `None` becomes a dash.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"Expected {len(columns)} cells for columns {list(columns)}, got {list(row)}.")
    return tabulate(rows, columns, tablefmt="github", disable_numparse=True, missingval="–")


def mean_std(values: Sequence[float], decimals: int = 2) -> str | None:
    """`mean ± sample standard deviation`; a single value has no deviation, none give None."""
    if len(values) == 0:
        return None
    mean = f"{np.mean(values):.{decimals}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{decimals}f}"


def differences_table(
    values: Sequence[Mapping[str, Any]], names: Mapping[str, str], column: str, decimals: int = 1
) -> str:
    """The Markdown table of differences; empty without any.

    Args:
        values: of each, `first` and `second`, what is compared, and the fields of its `Interval`.
        names: how a reader knows what is compared; without one, as it is.
        column: heading of the differences.
        decimals: of percentage points.
    """
    rows = []
    for value in values:
        interval = Interval.of(value)
        compared = " against ".join(names.get(value[side], value[side]) for side in ("first", "second"))
        rows.append([compared, interval.text(decimals), interval.verdict])
    return table(["compared", column, "verdict"], rows) if rows else ""


@dataclass(frozen=True)
class Report:
    """What a person sees of a run."""

    title: str
    sections: Mapping[str, str]  # heading -> Markdown
    figures: Mapping[str, str]  # path below the run folder -> caption
    values: Mapping[str, Any] = field(default_factory=dict)  # numbers for programs, besides those of each training
    parts: Sequence[RankedLists | Slider | Charts] = ()  # of report.html alone


def write_report(folder: Path, report: Report, values: Mapping[str, Any], trainings: Sequence[str] = ()) -> None:
    """Writes `report.md`, `report.html` and `report.json` into a run folder, and prints the sections.

    Args:
        folder: of the run.
        report: what a person sees.
        values: further numbers for programs; `config` are the settings.
        trainings: names of the folders in it whose logs the page shows.
    """
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in report.sections.items())
    figures = "".join(f"\n\n![{caption}]({path})\n\n*{caption}*" for path, caption in report.figures.items())
    write_json(folder / "report.json", {**values, **report.values})
    write_text(folder / "report.md", f"# {report.title}\n\n{body}{figures}\n")
    write_text(folder / "report.html", _page(folder, report, values.get("config", {}), trainings))
    print(f"\n{report.title}\n\n{body}\n\nReport and figures: {folder / 'report.md'}")
    print(f"To browse: {folder / 'report.html'}")


def _page(folder: Path, report: Report, settings: Mapping[str, Any], trainings: Sequence[str]) -> str:
    """Results first, then how they came about."""
    parts = [*report.parts, *training_charts(folder, trainings)]
    shown = {path for part in parts for path in part.figures}
    figures = {path: caption for path, caption in report.figures.items() if path not in shown}
    return html.page(
        report.title,
        [
            *(html.Text(heading, text) for heading, text in report.sections.items()),
            *parts,
            *([html.Figures(folder, figures)] if figures else []),
            *([html.Settings("Settings", {**settings, **html.environment(folder)})] if settings else []),
        ],
    )


def publish(
    project: Path,
    presets: Mapping[str, tuple[str, RunConfig]],
    config: RunConfig,
    trials: Sequence[Mapping[str, Any]],
    *,
    name: str = "",
    omit: Collection[str] = (),
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes a run's config and the numbers of its trials into `results.json` of a project's folder.

    They are published under `name`, by default the run's, with the preset that the run comes closest to and the fields
    in which it differs from that. Where files lie on this machine is left out, and so are the numbers to `omit`.
    `more` are numbers that are not of a trial.
    """
    records = [{key: value for key, value in trial.items() if key not in (*omit, "made_from")} for trial in trials]
    settings = _settings(config)
    changed = {preset: changed_fields(settings, known) for preset, (_, known) in presets.items()}
    preset = config.name if config.name in presets else min(changed, key=lambda each: len(changed[each]))
    entry = {"preset": preset, "changed": changed[preset], "config": settings, "trials": records, **(more or {})}
    results = published(project) | {name or config.name: entry}
    write_json(project / "results.json", dict(sorted(results.items())))


def _settings(config: RunConfig) -> dict[str, Any]:
    """A config as JSON values, without where files lie and how long processes wait."""
    left_out = (*config.PLACES, "worker_wait")
    return {key: value for key, value in to_json(config).items() if key not in left_out}


def changed_fields(settings: Mapping[str, Any], preset: RunConfig) -> list[str]:
    """Names of the fields, but for the name, in which published settings differ from a preset.

    A field that they lack, as it is newer than they are, has its default.
    """
    known, own = _settings(preset), _settings(from_json(settings, type(preset)))
    return [key for key in known if key != "name" and own[key] != known[key]]


def published(project: Path) -> dict[str, Any]:
    """Run name -> its config and the numbers of its trials, as `publish` wrote them."""
    path = project / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def copy_figures(run: Path, project: Path, names: Collection[str]) -> None:
    """Copies figures of a run to the folder of its project, whose pages show them."""
    for name in names:
        (project / "figures").mkdir(exist_ok=True)
        shutil.copyfile(run / "figures" / name, project / "figures" / name)


def pictures(captions: Mapping[str, str]) -> list[str]:
    """Figures of a project's folder `figures` with their captions, in Markdown, from file name -> caption."""
    return [f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in captions.items()]


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
