"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.experiments import entry
from common.experiments.config import from_json
from common.experiments.reid.report import publish as publish_run
from common.report import pages, tables
from common.report.pages import Finding
from common.statistics import Interval

from .attacks.encryption_settings import ANOTHER, BROKEN, BY_REQUEST, ONE_KEY, PLAIN, ZEROS
from .config import PRESETS, RECONSTRUCTIONS, Config
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

# Runs whose features the cipher is attacked on.
_STUDIED = {"mobilenet": "A part of Market-1501 with MobileNet 0.25", "demo": "Synthetic people"}

# Of the publication's victim models, in its order, and of others.
MODELS = {"bot": "BoT", "agw": "AGW", "sbs": "SBS", "trained": "trained here", "other": "another model"}

Records = Sequence[dict[str, Any]]
Runs = Mapping[tuple[str, str], Records]  # (local set, victim model) -> the numbers of its trainings


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


def certainty_table(records: Records) -> str:
    """The mean balanced accuracies of each training, with intervals over people and what chance alone gives."""
    rows = []
    for record in records:
        for setting, values in record.get("certainty", {}).items():
            accuracy = 100 * np.mean(list(record["balanced_accuracy"][setting].values()))
            (low, high), null = values["interval"], values["null"]
            chance = f"{100 * null['mean']:.1f} ({100 * null['low']:.1f} to {100 * null['high']:.1f})"
            cells = [f"{accuracy:.1f}", f"{100 * low:.1f} to {100 * high:.1f}", chance, f"{null['p']:.3f}"]
            rows.append([ATTACKS[record["attack"]], setting, record["seed"], *cells])
    columns = ["attack", "stolen features", "seed", "accuracy (%)", "95 % interval", "chance (%)", "p"]
    return tables.table(columns, rows)


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


def paper_runs() -> list[tuple[str, str]]:
    """The local sets and victim models of the publication."""
    return [(dataset, model) for dataset, attacks in PAPER.items() for model in attacks["pixel"]]


def comparison_table(runs: Runs) -> str:
    """Fig. 2.7 whole: the publication's mean cosine distances and ours, of all local sets, losses and victim models."""
    known = paper_runs()
    models = [model for model in MODELS if model in {model for _, model in (*known, *runs)}]
    published = {model for _, model in known}
    columns = [(model, of) for model in models for of in ("paper", "ours") if of == "ours" or model in published]
    rows = []
    for dataset in dict.fromkeys(dataset for dataset, _ in (*known, *runs)):
        for attack in RECONSTRUCTIONS:
            row = [dataset, ATTACKS[attack]]
            for model, of in columns:
                paper = PAPER.get(dataset, {}).get(attack, {}).get(model)
                ours = _distance(_of(runs.get((dataset, model), []), attack), PLAIN)
                if of == "paper":
                    row.append(paper and f"{paper:.5f}")
                else:
                    row.append(ours or (paper and "not run"))
            rows.append(row)
    return tables.table(["local set", "losses", *(f"{MODELS[model]}, {of}" for model, of in columns)], rows)


def attributes_by_model(runs: Runs, dataset: str) -> dict[str, dict[str, float]]:
    """Fig. 2.6 of a local set: "chance" or a victim model -> attribute -> balanced accuracy (%), mean over seeds.

    Raises:
        ValueError: the runs differ in attributes, or in how many classes these have.
    """
    groups: dict[str, dict[str, float]] = {}
    for (local_set, model), records in runs.items():
        classifiers = _of(records, "attributes") if local_set == dataset else []
        for record in classifiers[:1]:
            chance = {name: 100 * value for name, value in record["chance"].items()}
            if groups.setdefault("chance", chance) != chance:
                raise ValueError(
                    f"Runs on {dataset} must have the same attributes and classes to be compared, got "
                    f"{groups['chance']} and {chance} as chance; train them on the same images, with the same users."
                )
            accuracies = [record["balanced_accuracy"][PLAIN] for record in classifiers]
            groups[MODELS[model]] = {name: float(np.mean([100 * a[name] for a in accuracies])) for name in chance}
    return groups


def attributes_table(groups: Mapping[str, Mapping[str, float]]) -> str:
    """What `attributes_by_model` returns: a row for each attribute, and their mean."""
    rows = [[name, *(f"{group[name]:.1f}" for group in groups.values())] for name in groups["chance"]]
    rows.append(["mean", *(f"{np.mean(list(group.values())):.1f}" for group in groups.values())])
    return tables.table(["attribute", *(f"{name} (%)" for name in groups)], rows)


def publish(results: entry.Results, study: Records) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the project's pages."""
    publish_run(HERE, PRESETS, results, FIGURES)
    tables.publish(HERE, PRESETS, results.config, study, name=f"{results.config.name}, cipher")
    renew_pages()


def renew_pages() -> None:
    """Writes the findings of published runs into the README, and their tables into RESULTS."""
    results = tables.published(HERE)
    sections = [
        *_run_sections(results, "mobilenet", _STUDIED["mobilenet"]),
        *_run_sections(results, "demo", f"{_STUDIED['demo']}, `make train-{__package__}`"),
        *(tables.pictures(FIGURES) if "demo" in results else []),
        *_paper_distances(results),
    ]
    pages.renew(HERE, findings(results), sections)
    every = [f"**{title}**\n\n{_study(results, name, essential=False)}" for name, title in _STUDIED.items()]
    tables.update_between(HERE / pages.RESULTS, "cipher", "\n\n".join(every))


def findings(results: dict[str, Any]) -> list[Finding]:
    """What the published runs say of the publication's claims: of the first run with intervals over people."""
    claims = (
        ("stolen embeddings tell attributes", PLAIN, True),
        ("encrypted by ShuffleBits, one key, they do not", ONE_KEY, False),
        ("nor with a key for each request", BY_REQUEST, False),
        ("nor once the cipher itself is attacked, one key", BROKEN, False),
    )
    for name, title in _STUDIED.items():
        records = _of(results.get(name, {}).get("trials", []), "attributes")
        if records and "certainty" in records[0]:
            place = f"{title.lower()}, {len(records)} attack model{'s' if len(records) > 1 else ''}"
            command = pages.command(__package__, name, results[name])
            return [_finding(claim, records[0], setting, leaks, place, command) for claim, setting, leaks in claims]
    command = pages.command(__package__, "demo")
    return [Finding.not_run(claim, _STUDIED["demo"].lower(), command) for claim, _, _ in claims]


def _finding(claim: str, record: Mapping[str, Any], setting: str, leaks: bool, place: str, command: str) -> Finding:
    """Whether the adversary's accuracy in a setting is above what exchanging people's attributes gives."""
    accuracy = np.mean(list(record["balanced_accuracy"][setting].values()))
    values = record["certainty"][setting]
    null = values["null"]
    chance = Interval(null["mean"], null["low"], null["high"]).text(sign="")
    own = Interval(float(accuracy), *values["interval"]).text(sign="")
    above = accuracy > null["high"]
    measured = f"balanced accuracy {own} %, by chance {chance}"
    return Finding(claim, "holds" if above == leaks else "does not hold", measured, place, command)


def _paper_distances(results: dict[str, Any]) -> list[str]:
    """Fig. 2.7 by the runs that there are, and a sentence if there are none."""
    runs = {key: results[f"{key[0]}_{key[1]}"]["trials"] for key in paper_runs() if f"{key[0]}_{key[1]}" in results}
    if runs:
        return [f"**Fig. 2.7: mean cosine distance**\n\n{comparison_table(runs)}"]
    presets = ", ".join(f"`{dataset}_{model}`" for dataset, model in paper_runs())
    if not presets:
        return []
    return [
        f"**Figs. 2.6 and 2.7** are not run, as the features of FastReID's models were not at hand: presets {presets}. "
        "The publication's numbers are in [paper_results.py](paper_results.py)."
    ]


def _run_sections(results: dict[str, Any], name: str, title: str) -> list[str]:
    """The tables of a run that the publication does not have, the one of all attacks first."""
    if name not in results:
        return [f"**{title}**: not run."]
    config, records = from_json(results[name]["config"], Config), results[name]["trials"]
    seeds = f" Seeds {', '.join(map(str, config.seeds))}." if len(config.seeds) > 1 else ""
    sections = [f"**{title}: what encryption buys**{seeds}\n\n{attack_table(records)}"]
    if any("certainty" in record for record in records):
        sections.append(f"**{title}: mean balanced accuracy, and what chance gives**\n\n{certainty_table(records)}")
    return [
        *sections,
        f"**{title}: each attribute, not encrypted**\n\n{attribute_table(records)}",
        f"**{title}: attacks on the cipher itself**\n\n{_study(results, name, essential=True)}",
    ]


def _study(results: dict[str, Any], name: str, essential: bool) -> str:
    entry = results.get(f"{name}, cipher")
    return study_table(entry["trials"], essential) if entry else "Not run."
