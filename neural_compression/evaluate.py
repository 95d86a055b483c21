"""Evaluates a run: rate and distortion of real files, those of classical codecs, report and figures.

python -m PROJECT.evaluate [RUN] [--publish] [--optimize code]
"""

from common.experiments import command

from .config import Arguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, Arguments)

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.experiments import entry
from common.experiments.identity import cached_json
from common.report import plots, tables
from common.report.page_parts import Slider

from .config import MODEL, Config, Trial, trials
from .data import Photographs, read, read_photographs
from .evaluation import classical
from .evaluation.compare import (
    by_quality,
    compare,
    curves_of,
    decoded_images,
    draw,
    measured,
    optimized_at_rate,
    points_of,
    sessions_for,
)
from .evaluation.rate_distortion import Point
from .networks.codec_file import CODEC, load
from .paper_results import BASELINE_BPP, TARGET_BPP
from .tables import publish, rate_tables, run_table

METRICS = "metrics.json"


def is_finished(config: Config, trial: Trial, data: Photographs, folder: Path) -> bool:
    """Whether a codec is trained."""
    return (folder / CODEC).exists()


def evaluate_trial(
    config: Config, trial: Trial, data: Photographs, folder: Path, arguments: Arguments
) -> dict[str, Any]:
    """The numbers of one codec; cached in its folder."""
    inputs = [folder / CODEC]
    record = cached_json(folder / METRICS, inputs, __name__, lambda: codec_record(config, trial, data, folder))
    how = arguments.optimize
    if how == "off":
        return record

    def make() -> dict[str, Any]:
        quality = record["at_rate"]["setting"]
        return optimized_at_rate(sessions_for(load(folder / CODEC), data.test), TARGET_BPP, how, quality)

    optimized = cached_json(folder / f"optimized-{how}.json", inputs, __name__, make)
    return record | {"optimized": {name: optimized[name] for name in (how, f"{how} and escape")}}


def codec_record(config: Config, trial: Trial, data: Photographs, folder: Path) -> dict[str, Any]:
    """Rate and distortion with each network alone, by the publication's selection, and with one λ for all blocks."""
    codec = load(folder / CODEC)
    in_context = sessions_for(codec, data.test)
    as_published = [session.with_mode("publication") for session in in_context]
    record: dict[str, Any] = asdict(trial) | {"networks": {}}
    for number, length in enumerate(codec.code_lengths):
        maps = [np.full(session.versions.samples.shape, number, np.uint8) for session in in_context]
        decoded = decoded_images(in_context, maps)  # how codes are written does not change the image
        modes = (("publication", as_published), ("context", in_context))
        record["networks"][str(length)] = {
            mode: asdict(measured(sessions, maps, decoded=decoded)) for mode, sessions in modes
        }
    record["by_quality"] = asdict(by_quality(as_published, BASELINE_BPP))
    return record | points_of(in_context, TARGET_BPP)


def report(results: entry.Results) -> tables.Report:
    """Tables and figures of a run."""
    config, images = results.config, results.data.test
    others, equal = (of(images, results.run.parent) for of in (classical.curves, classical.equal_rates))
    kind = f"width {config.width}, {config.epochs} epochs"
    if config.closed_form:
        kind = f"{kind}, begun in closed form" if config.epochs else f"width {config.width}, in closed form"
    figures, sliders = draw_codec(results, others)
    return tables.Report(
        f"{config.name}: {kind}, {config.code_lengths} bits",
        {f"{results.heading}, {len(images)} photographs": run_table(config, results.records)}
        | rate_tables(results.records, others, equal),
        draw_losses(results) | figures,
        {"classical": others, "classical_equal_rate": equal},
        sliders,
    )


def draw_losses(results: entry.Results) -> dict[str, str]:
    """The losses of all stages of all networks; none where all are fitted in closed form. Returns the captions."""
    logs = {
        f"{log.parent.relative_to(results.run / trial.name)}, {trial.name}": pd.read_csv(log)["loss"]
        for trial in results.trials
        for log in sorted((results.run / trial.name).rglob("log.csv"))
    }
    if not logs:
        return {}
    plots.curves(results.run / "figures/loss.png", logs, "pass", "loss")
    return {"figures/loss.png": "Training loss of each pass."}


def draw_codec(results: entry.Results, others: dict[str, list[dict[str, Any]]]) -> tuple[dict[str, str], list[Slider]]:
    """Rate-distortion curves, and the first photographs as the first codec codes them: captions and sliders."""
    curves: dict[str, Sequence[Point]] = {}
    for trial, record in zip(results.trials, results.records):
        curves |= curves_of(record, "ours" if len(results.trials) == 1 else f"ours, {trial.name}")
    codec, quality = load(results.run / results.trials[0].name / CODEC), results.records[0]["at_rate"]["setting"]
    return draw(results.run, codec, results.data.test, quality, curves, others)


evaluate = entry.Evaluation(__package__, Config, trials, read, is_finished, evaluate_trial, report, publish, Arguments)


def main(arguments: Arguments) -> None:
    """Command line: evaluates a run; without any, compares the codec that ships."""
    runs = arguments.runs_dir / __package__
    if arguments.run is None and MODEL.exists() and not any(runs.glob("*/environment.json")):
        print(f"There is no run below {runs}: this is the codec that ships with the repository.")
        compare(MODEL, read_photographs(None), runs / "comparison", "code")
        return
    evaluate(**vars(arguments))
