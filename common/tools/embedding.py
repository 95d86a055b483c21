"""Embeddings of many pictures as Parquet files: in shards that jobs make at once, in parts that outlive a kill."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.datasets.images import BOX
from common.datasets.own_pictures import checked
from common.experiments.config import EmbeddingArguments
from common.experiments.identity import json_digest
from common.files import write_parquet, write_text

PART = 4096  # pictures of a file
COLUMNS = ("path", "label", "camera", "split")


def shard_of(text: str, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """I and N of "I/N"; of "auto" those of the job in an array of SLURM, or 1 and 1.

    Raises:
        ValueError: it is none, or the array has gaps.
    """
    if text == "auto":
        if "SLURM_ARRAY_TASK_ID" not in environment:
            return 1, 1
        number, first, last, count = (
            int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "MAX", "COUNT")
        )
        if last - first + 1 != count:
            raise ValueError(f"SLURM's array goes from {first} to {last} with {count} jobs; give --array=1-{count}.")
        return number - first + 1, count
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(
            f"A shard is I/N with I from 1 to N, such as 2/8, got {text!r}; an array of SLURM needs no --shard."
        )
    return int(match[1]), int(match[2])


def embed_pictures(
    table: pd.DataFrame,
    embed: Callable[[pd.DataFrame], np.ndarray],
    arguments: EmbeddingArguments,
    *,
    attribute: str,
    fingerprint: str,
) -> int:
    """Writes the parts of this job's shard that are not there yet; returns how many pictures were embedded.

    All pictures that are to be embedded are checked first. A part has 4,096 of them, or fewer where some are left out,
    and columns `path`, `label`, `camera` and `split` where there are such, `sha256`, and `embedding`.

    Args:
        table: all pictures, with those columns; the same for all shards.
        embed: rows of the table -> features (n, D).
        arguments: where to, and which shard.
        attribute: what the labels are.
        fingerprint: of the network.

    Raises:
        ValueError: images cannot be read, all of which are named; or the folder has embeddings of another network, of
            other pictures, or in another number of shards.
    """
    number, count = shard_of(arguments.shard)
    columns = [name for name in (*COLUMNS, *BOX) if name in table]
    rows = np.array_split(np.arange(len(table)), count)[number - 1]
    job = json_digest(
        [fingerprint, attribute, count, arguments.skip_damaged, table[columns].astype(str).values.tolist()]
    )
    metadata = {"job": job, "attribute": attribute, "fingerprint": fingerprint}
    arguments.out.mkdir(parents=True, exist_ok=True)
    _check_folder(arguments.out, job)
    parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
    files = [arguments.out / _name(number, count, i, len(parts)) for i in range(1, len(parts) + 1)]
    left = [(file, part) for file, part in zip(files, parts) if not file.exists()]
    todo = sum(len(part) for _, part in left)
    print(
        f"{len(table):,} pictures of {table['label'].nunique():,} classes, shard {number} of {count}: {len(rows):,}, "
        f"of which {len(rows) - todo:,} are done -> {arguments.out}"
    )
    if not left:
        return 0
    wanted = table.iloc[np.concatenate([part for _, part in left])]
    good = checked(wanted, arguments.skip_damaged)
    _list_left_out(arguments.out / f"shard-{number:05d}-of-{count:05d}-left_out.txt", wanted["path"], good["path"])
    done = 0
    with tqdm(total=len(good), desc="embed", unit="image", delay=2) as bar:
        for file, part in left:
            chosen = good[good["path"].isin(table["path"].iloc[part])]
            features = embed(chosen) if len(chosen) else embed(good.iloc[:1])[:0]
            written = {name: chosen[name].tolist() for name in columns if name in COLUMNS}
            written["sha256"] = [digest.hex() for digest in chosen["digest"]]
            write_parquet(file, [(written, features)], metadata)
            done += len(chosen)
            bar.update(len(chosen))
    return done


def _name(number: int, count: int, part: int, parts: int) -> str:
    return f"shard-{number:05d}-of-{count:05d}-part-{part:05d}-of-{parts:05d}.parquet"


def _list_left_out(report: Path, wanted: pd.Series, good: pd.Series) -> None:
    """Adds the pictures that cannot be read to the list of a shard; there is none without any."""
    if damaged := set(wanted) - set(good):
        before = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        write_text(report, "".join(f"{path}\n" for path in sorted({*before, *damaged})))


def _check_folder(out: Path, job: str) -> None:
    import pyarrow.parquet as pq

    # Other jobs write theirs under hidden names.
    for file in sorted(out.glob("[!.]*.parquet")):
        try:
            known = (pq.read_schema(file).metadata or {}).get(b"job", b"").decode()
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{file} cannot be read as Parquet; remove it, and give the same command again."
            ) from error
        if known != job:
            raise ValueError(
                f"{file} has embeddings of another network, of other pictures, or of another number of shards; choose "
                "another --out, or remove that folder."
            )
