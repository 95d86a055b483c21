"""The data set of a run, its description, and another one to evaluate on."""

from dataclasses import replace
from pathlib import Path

from common import distribution
from common.datasets import person_reid, sampler
from common.datasets.own_reid import read_own
from common.experiments.checkpoint import BEST_WEIGHTS, check_stamps
from common.experiments.config import to_json
from common.experiments.identity import IDENTITY, WRITTEN, identity_of, read_identity, settings_of, summaries
from common.experiments.reid.config import ReIDArguments, ReIDConfig
from common.files import write_json


def read(config: ReIDConfig) -> person_reid.ReIDData:
    """The data set of a run."""
    if config.dataset == "own":
        if config.data_dir is None:
            raise ValueError("Your own pictures are read from a folder or a CSV file: pass --data-dir.")
        return read_own(config.data_dir, config.held_out, config.skip_damaged)
    data = person_reid.read(config.dataset, config.data_dir, identities=config.people)
    return person_reid.hold_out(data, config.held_out) if config.held_out else data


def describe(config: ReIDConfig, data: person_reid.ReIDData) -> str:
    """What and how much is trained on."""
    who = "identities" if config.dataset == "own" else "people"
    return (
        f"{config.dataset}, {len(data.train):,} images of {data.train.identity.nunique():,} {who}, "
        f"{len(data.query):,} queries, {len(data.gallery):,} in the gallery, {config.frozen_epochs} + {config.epochs} "
        "epochs"
    )


def on_another_set(run: Path, config: ReIDConfig, arguments: ReIDArguments) -> Path:
    """The run itself; or `on-DATASET` in it, a run of the same weights on the data set that the arguments name.

    Raises:
        ValueError: numbers on another set are to be published, or as of `read`.
    """
    if arguments.dataset in (None, config.dataset):
        return run
    if arguments.publish:
        raise ValueError(f"Numbers on {arguments.dataset} are of no row of the publication; leave out --publish.")
    other = replace(config, dataset=arguments.dataset, data_dir=arguments.data_dir, held_out=0)
    before, settings = read_identity(run) or identity_of(config), settings_of(to_json(other), type(other))
    folder = run / f"on-{arguments.dataset}"
    folder.mkdir(exist_ok=True)
    trained = {"trained_on": before.get("trained_on", before["data"])}
    write_json(folder / IDENTITY, {**before, **settings, "data": summaries(read(other)), **trained})
    write_json(folder / "config.json", to_json(other))
    check_stamps([run / path.parent.name for path in run.glob(f"*/{BEST_WEIGHTS}")])
    for path in run.glob(f"*/{BEST_WEIGHTS}"):
        for name in (BEST_WEIGHTS, "log.csv", WRITTEN):
            link = folder / path.parent.name / name
            if path.with_name(name).is_file() and not link.exists():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(Path("../..") / path.parent.name / name)  # goes on to hold where the run is moved
    return folder


def check(config: ReIDConfig, strategy: distribution.Strategy) -> None:
    """Raises ValueError where a batch cannot be split over the devices, or several processes would evaluate."""
    sampler.check_parts(config.identities_per_batch, strategy.num_replicas_in_sync)
    if config.evaluate_every and strategy.cluster_resolver is not None:
        raise ValueError(
            f"The test images are looked at by one process, but evaluate_every is {config.evaluate_every} and the "
            "strategy has several; pass --evaluate-every 0 --choose-epoch last, or --strategy one or mirrored."
        )
