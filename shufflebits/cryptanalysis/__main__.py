"""What an adversary recovers of embeddings without the key, under each way to use keys.

python -m PROJECT.cryptanalysis FILE.npz [--num-keys 5]

FILE.npz is what `common.retrieval.save_embeddings` writes, from any framework: the gallery is the adversary's own plain
sample, and the queries are the users, who should be other people.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from common.experiments.config import run_command
from common.retrieval import load_embeddings

from .study import study_ciphers, study_table


@dataclass(frozen=True)
class Arguments:
    """Attacks ShuffleBits on embeddings of any model, and ChaCha20 as a check of the attack."""

    file: tyro.conf.Positional[Path]  # npz of save_embeddings: gallery = the adversary's sample, query = the users
    num_keys: int = 5  # random keys for each scheme and number of vectors
    counts: tuple[int, ...] = (1, 3, 5, 10, 30, 100, 300)  # numbers of stolen vectors
    seed: int = 0  # of keys and of the choice of vectors


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    users, sample = load_embeddings(arguments.file)
    records = study_ciphers(
        sample.features,
        users.features,
        identities=users.identities,
        counts=arguments.counts,
        num_keys=arguments.num_keys,
        seed=arguments.seed,
    )
    print(study_table(records))
    print(f"\nBy chance, {records[0]['chance']:.2%} are re-linked", end="")
    recognized = records[0]["recognized_by_chance"]
    print("." if recognized is None else f" and {recognized:.2%} recognized.")


if __name__ == "__main__":
    run_command(main)
