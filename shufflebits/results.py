"""The publication's numbers, this repository's numbers, and the tables that put them side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import report
from common.config import from_json, to_json

from .config import RECONSTRUCTIONS, Config
from .cryptanalysis import study_table
from .scenarios import ONE_KEY, PLAIN, ZEROS

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"

# Fields that say where a run and its files lie, with the values that stand for "nowhere".
_PLACE: dict[str, Any] = {"data_dir": None, "runs_dir": "", "weights": "none", "perceptual_weights": "none"}

ANOTHER = "of another image"  # the distance of a reconstruction of another image

ATTACKS = {
    "attributes": "attributes",
    "attributes_on_words": "attributes, trained on words",
    "pixel": "pixel",
    "feature": "feature reconstruction",
    "adversarial": "feature reconstruction + adversarial",
}

# Mean cosine distance (Fig. 2.7): local set -> attack -> proprietary model.
PAPER = {
    "market1501": {
        "pixel": {"bot": 0.09053, "agw": 0.17465, "sbs": 0.03421},
        "feature": {"bot": 0.11218, "agw": 0.19536, "sbs": 0.04391},
        "adversarial": {"bot": 0.05319, "agw": 0.09156, "sbs": 0.02483},
    },
    "duke": {
        "pixel": {"bot": 0.10543, "agw": 0.23620, "sbs": 0.04229},
        "feature": {"bot": 0.15457, "agw": 0.23286, "sbs": 0.05275},
        "adversarial": {"bot": 0.06567, "agw": 0.13252, "sbs": 0.03327},
    },
}

FIGURES = {
    "attributes.png": "Balanced accuracy of each attribute on drawn people, and chance (Fig. 2.6).",
    "reconstructions.png": "Users' images and what is made of their plain features (Fig. 2.7).",
}

Records = Sequence[dict[str, Any]]


def _of(records: Records, attack: str) -> Records:
    return [record for record in records if record["attack"] == attack]


def _accuracy(records: Records, scenario: str) -> str | None:
    """Mean over attributes in %, over seeds."""
    found = [r["balanced_accuracy"][scenario] for r in records if scenario in r["balanced_accuracy"]]
    return report.mean_std([100 * np.mean(list(accuracies.values())) for accuracies in found], 1)


def _distance(records: Records, scenario: str) -> str | None:
    return report.mean_std([r["cosine_distance"][scenario] for r in records if scenario in r["cosine_distance"]], 4)


def attack_table(records: Records) -> str:
    """What each attack gets out of stolen features, by how they are encrypted: what encryption buys."""
    classifiers, on_words = _of(records, "attributes"), _of(records, "attributes_on_words")
    reconstructors = [_of(records, attack) for attack in RECONSTRUCTIONS]
    scenarios = [name for r in classifiers[:1] for name in r["balanced_accuracy"]]
    scenarios = scenarios or [name for r in sum(reconstructors, [])[:1] for name in r["cosine_distance"]]
    rows = [
        [name, _accuracy(classifiers, name), *(_distance(found, name) for found in reconstructors)]
        for name in scenarios
        if name != ANOTHER
    ]
    if on_words:
        for name, scenario in (("ShuffleBits, a key for each party, trained on words", ONE_KEY), (ZEROS, ZEROS)):
            rows.append([name, _accuracy(on_words, scenario), *[None] * len(RECONSTRUCTIONS)])
    chance = [100 * np.mean(list(record["chance"].values())) for record in (*classifiers, *on_words)][:1]
    marks = [_distance(found, ANOTHER) for found in reconstructors]
    rows.append(["chance, or the image of another", report.mean_std(chance, 1), *marks])
    columns = [f"distance, {ATTACKS[attack]}" for attack in RECONSTRUCTIONS]
    return report.table(["stolen features", "balanced accuracy (%)", *columns], rows)


def attribute_table(records: Records) -> str:
    """Balanced accuracy of each attribute, and chance (Fig. 2.6)."""
    found = _of(records, "attributes")
    rows = [
        [
            name,
            report.mean_std([100 * record["balanced_accuracy"][PLAIN][name] for record in found], 1),
            f"{100 * chance:.1f}",
        ]
        for record in found[:1]
        for name, chance in record["chance"].items()
    ]
    return report.table(["attribute", "balanced accuracy (%)", "chance (%)"], rows)


def distance_table(config: Config, records: Records) -> str:
    """Fig. 2.7: the publication's mean cosine distances beside a run's."""
    paper = PAPER.get(config.dataset, {})
    rows = [
        [ATTACKS[attack], paper.get(attack, {}).get(config.proprietary), _distance(_of(records, attack), PLAIN)]
        for attack in RECONSTRUCTIONS
    ]
    return report.table(["losses", "paper", "this run"], rows)


def publish(config: Config, records: Records, study: Records, run: Path) -> None:
    """Keeps a run's numbers in `results.json` under the run's name and renews the README's tables.

    Figures are kept of drawn people alone: photographs of people are not ours to hand on.
    """
    report.publish(RESULTS, config.name, to_json(config), records, left_out=_PLACE)
    report.publish(RESULTS, f"{config.name}, cipher", {}, study, left_out=_PLACE)
    if config.dataset == "people":
        report.keep_figures(run, HERE, FIGURES)
    renew_readme()


def renew_readme() -> None:
    """Writes the tables of all published runs into the README."""
    results = report.published(RESULTS)
    sections = [
        *_run_sections(results, "mobilenet", "A part of Market-1501 with MobileNet 0.25"),
        _run_sections(results, "demo", f"Drawn people, `make train-{__package__}`")[0],
    ]
    if "demo" in results:
        sections += [f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in FIGURES.items()]
    sections.append(_paper_table(results))
    report.update_between(HERE / "README.md", "results", "\n\n".join(sections))


def _run_sections(results: dict[str, Any], name: str, title: str) -> list[str]:
    """The tables of a run that the publication does not have, the one of all attacks first."""
    if name not in results:
        return [f"**{title}**: not run."]
    config, records = from_json({**results[name]["config"], **_PLACE}, Config), results[name]["trials"]
    seeds = f" Seeds {', '.join(map(str, config.seeds))}." if len(config.seeds) > 1 else ""
    return [
        f"**{title}: what encryption buys**{seeds}\n\n{attack_table(records)}",
        f"**{title}: each attribute, not encrypted**\n\n{attribute_table(records)}",
        f"**{title}: attacks on the cipher itself**\n\n{study_table(results[f'{name}, cipher']['trials'])}",
    ]


def _paper_table(results: dict[str, Any]) -> str:
    rows = []
    for dataset, attacks in PAPER.items():
        for attack, models in attacks.items():
            for model, distance in models.items():
                name = f"{dataset}_{model}"
                ours = _distance(_of(results.get(name, {}).get("trials", []), attack), PLAIN)
                rows.append([f"`{name}`", ATTACKS[attack], f"{distance:.5f}", ours or "not run"])
    return f"**Fig. 2.7: mean cosine distance**\n\n{report.table(['preset', 'losses', 'paper', 'ours'], rows)}"
