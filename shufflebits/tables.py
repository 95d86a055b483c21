"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.experiments import entry, reid
from common.experiments.config import from_json
from common.report import tables

from .attacks.encryption_settings import ANOTHER, ONE_KEY, PLAIN, ZEROS
from .config import RECONSTRUCTIONS, Config
from .cryptanalysis import study_table
from .paper_results import PAPER

HERE = Path(__file__).parent

ATTACKS = {
    "attributes": "attributes",
    "attributes_on_words": "attributes, trained on words",
    "pixel": "pixel",
    "feature": "feature reconstruction",
    "adversarial": "feature reconstruction + adversarial",
}

FIGURES = {
    "attributes.png": "Balanced accuracy of each attribute on synthetic people, and chance (Fig. 2.6).",
    "reconstructions.png": "Users' images and what is made of their plain features (Fig. 2.7).",
}

Records = Sequence[dict[str, Any]]


def _of(records: Records, attack: str) -> Records:
    return [record for record in records if record["attack"] == attack]


def _accuracy(records: Records, setting: str) -> str | None:
    """Mean over attributes in %, over seeds."""
    accuracies = [r["balanced_accuracy"][setting] for r in records if setting in r["balanced_accuracy"]]
    return tables.mean_std([100 * np.mean(list(by_attribute.values())) for by_attribute in accuracies], 1)


def _distance(records: Records, setting: str) -> str | None:
    return tables.mean_std([r["cosine_distance"][setting] for r in records if setting in r["cosine_distance"]], 4)


def attack_table(records: Records) -> str:
    """What each attack gets out of stolen features, by how they are encrypted: what encryption buys."""
    classifiers, on_words = _of(records, "attributes"), _of(records, "attributes_on_words")
    reconstructors = [_of(records, attack) for attack in RECONSTRUCTIONS]
    settings = [name for r in classifiers[:1] for name in r["balanced_accuracy"]]
    settings = settings or [name for r in sum(reconstructors, [])[:1] for name in r["cosine_distance"]]
    rows = [
        [name, _accuracy(classifiers, name), *(_distance(of_attack, name) for of_attack in reconstructors)]
        for name in settings
        if name != ANOTHER
    ]
    if on_words:
        for name, setting in (("ShuffleBits, a key for each party, trained on words", ONE_KEY), (ZEROS, ZEROS)):
            rows.append([name, _accuracy(on_words, setting), *[None] * len(RECONSTRUCTIONS)])
    chance = [100 * np.mean(list(record["chance"].values())) for record in (*classifiers, *on_words)][:1]
    marks = [_distance(of_attack, ANOTHER) for of_attack in reconstructors]
    rows.append(["chance, or the image of another", tables.mean_std(chance, 1), *marks])
    columns = [f"distance, {ATTACKS[attack]}" for attack in RECONSTRUCTIONS]
    return tables.table(["stolen features", "balanced accuracy (%)", *columns], rows)


def attribute_table(records: Records) -> str:
    """Balanced accuracy of each attribute, and chance (Fig. 2.6)."""
    classifiers = _of(records, "attributes")
    rows = [
        [
            name,
            tables.mean_std([100 * record["balanced_accuracy"][PLAIN][name] for record in classifiers], 1),
            f"{100 * chance:.1f}",
        ]
        for record in classifiers[:1]
        for name, chance in record["chance"].items()
    ]
    return tables.table(["attribute", "balanced accuracy (%)", "chance (%)"], rows)


def distance_table(config: Config, records: Records) -> str:
    """Fig. 2.7: the publication's mean cosine distances and a run's."""
    paper = PAPER.get(config.dataset, {})
    rows = [
        [ATTACKS[attack], paper.get(attack, {}).get(config.victim), _distance(_of(records, attack), PLAIN)]
        for attack in RECONSTRUCTIONS
    ]
    return tables.table(["losses", "paper", "this run"], rows)


def publish(results: entry.Results, study: Records) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the README's tables."""
    reid.publish(HERE, results, FIGURES)
    tables.publish(HERE, results.config, study, name=f"{results.config.name}, cipher")
    renew_readme()


def renew_readme() -> None:
    """Writes the tables of all published runs into the README."""
    results = tables.published(HERE)
    sections = [
        *_run_sections(results, "mobilenet", "A part of Market-1501 with MobileNet 0.25"),
        _run_sections(results, "demo", f"Synthetic people, `make train-{__package__}`")[0],
    ]
    if "demo" in results:
        sections += tables.pictures(FIGURES)
    sections.append(_paper_table(results))
    tables.update_between(HERE / "README.md", "results", "\n\n".join(sections))


def _run_sections(results: dict[str, Any], name: str, title: str) -> list[str]:
    """The tables of a run that the publication does not have, the one of all attacks first."""
    if name not in results:
        return [f"**{title}**: not run."]
    config, records = from_json(results[name]["config"], Config), results[name]["trials"]
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
    return f"**Fig. 2.7: mean cosine distance**\n\n{tables.table(['preset', 'losses', 'paper', 'ours'], rows)}"
