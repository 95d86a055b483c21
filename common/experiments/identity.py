"""What a run is: its settings, and the content of its data and weights; what is bound to it, and made from it."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.experiments.config import RunConfig, to_json
from common.experiments.environment import code_of
from common.files import file_digest, write_json

IDENTITY = "identity.json"  # in the run folder
NAMED_WEIGHTS = ("imagenet", "none")
WRITTEN = "written.json"  # digests of files, in the folder of a training
_CHEAP = 2**28  # bytes of image files that are read; of more of them names and sizes count
_GROWING = "grows"  # key of what an identity has beside its digest: seeds and epochs, to which more may be added


def identity_of(config: RunConfig, data: Any = None) -> dict[str, Any]:
    """The identity of a run, as JSON values: where files lie is no part of it, and what is in them is.

    Args:
        config: of the run.
        data: what the project reads: a dataclass or named tuple of parts, each of arrays, or a table with a column
            `path` of image files. None if it is not known.

    Raises:
        ValueError: a file that the config names does not exist.
    """
    return {
        **settings_of(to_json(config), type(config)),
        "files": {name: _content(name, getattr(config, name)) for name in config.FILES},
        "data": summaries(data),
    }


def summaries(data: Any) -> dict[str, dict[str, Any]]:
    """Part of the data -> its digest, and numbers that a person can compare: of samples, and of a table's classes."""
    return {name: _summary(part) for name, part in _parts(data).items()}


def settings_of(values: Mapping[str, Any], config_class: type[RunConfig]) -> dict[str, dict[str, Any]]:
    """The part of an identity that is in a config, as JSON values; where a run lives and trains is in neither."""
    places = ("name", "strategy", "worker_wait", *config_class.PLACES, *config_class.FILES)
    growing = ("seeds", *config_class.EXTENDABLE)
    return {
        "settings": {name: value for name, value in values.items() if name not in (*places, *growing)},
        _GROWING: {name: values.get(name) for name in growing},
    }


def with_defaults(identity: Mapping[str, Any], config_class: type[RunConfig]) -> dict[str, Any]:
    """An identity with all fields of a class: one that came later had its default, which is what was done before."""
    defaults = settings_of(to_json(config_class()), config_class)
    return {**identity, **{part: {**values, **identity.get(part, {})} for part, values in defaults.items()}}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a run would have to change to be another one, in words; data of which nothing is known do not differ."""
    changes = [
        f"{name} was {old!r} and is now {new!r}"
        for name, old, new in _changed({**before["settings"], **before[_GROWING]}, {**now["settings"], **now[_GROWING]})
        if not _has_grown(name, old, new, now)
    ]
    for name, old, new in _changed(before["files"], now["files"]):
        named = [value for value in (old, new) if value in (None, *NAMED_WEIGHTS)]
        changes.append(f"{name} was {old} and is now {new}" if named else f"the content of {name} is another")
    if before["data"] and now["data"]:
        for part, old, new in _changed(before["data"], now["data"]):
            counts = [f"{old[k]:,} {k} and are now {new[k]:,}" for k in old if k != "digest" and new.get(k) != old[k]]
            changes.append(f"data {part} were {', '.join(counts)}" if counts else f"the content of data {part} differs")
    return changes


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(k, before.get(k), now.get(k)) for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k)]


def _has_grown(name: str, old: Any, new: Any, now: Mapping[str, Any]) -> bool:
    """Whether it is one that may: each seed is a training of its own, and more epochs go on where the others ended."""
    if name not in now[_GROWING] or old is None:
        return False
    return set(old) <= set(new) if name == "seeds" else new >= old


def _parts(data: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(data):
        return {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    if data is None or hasattr(data, "_asdict"):
        return {} if data is None else data._asdict()
    return {"samples": data}


def _summary(part: Any) -> dict[str, Any]:
    digest = hashlib.sha256()
    _update(digest, part)
    counts = {"samples": len(part)} if hasattr(part, "__len__") else {}
    if isinstance(part, pd.DataFrame):
        counts |= {str(column): int(part[column].nunique()) for column in part.columns if column != "path"}
    return {**counts, "digest": digest.hexdigest()}


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, pd.DataFrame):
        columns = [column for column in value.columns if column != "path"]
        digest.update(value[columns].to_csv(index=False).encode())
        if "path" in value:
            _update_files(digest, [Path(path).absolute() for path in value["path"]])
    elif isinstance(value, (list, tuple, np.ndarray)):
        digest.update(str(len(value)).encode())
        for item in value:
            _update(digest, item)
    else:
        digest.update(repr(value).encode())


def _update_files(digest: Any, paths: Sequence[Path]) -> None:
    """Names below their common folder, sizes, and the contents of files that are small together."""
    if not paths:
        return
    root = os.path.commonpath([path.parent for path in paths])
    sizes = [path.stat().st_size if path.exists() else -1 for path in paths]
    for path, size in zip(paths, sizes):
        digest.update(f"{path.relative_to(root).as_posix()} {size}\n".encode())
    if sum(sizes) <= _CHEAP:
        for path, size in zip(paths, sizes):
            digest.update(path.read_bytes() if size >= 0 else b"")


def _content(name: str, value: Any) -> str | None:
    """What counts of a field that names a file: the digest of its content, or the name of known weights."""
    if value is None or str(value) in NAMED_WEIGHTS:
        return value and str(value)
    if not Path(value).is_file():
        raise ValueError(f"There is no file {value}; pass its path as --{name.replace('_', '-')}.")
    return file_digest(Path(value))


def json_digest(value: Any) -> str:
    """SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_identity(run: Path) -> dict[str, Any] | None:
    """The identity that a run folder has; None if it has none.

    Raises:
        ValueError: it is damaged.
    """
    path = run / IDENTITY
    if not path.is_file():
        return None
    try:
        identity = json.loads(path.read_text(encoding="utf-8"))
        differences(identity, identity)  # has all parts
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}). Remove {run} to start over, or put the file back.") from error
    return identity


def run_of(folder: Path) -> Path | None:
    """The run that a folder of a training, or of a stage of one, belongs to; None outside of a run."""
    return next((run for run in (folder, *folder.absolute().parents) if (run / IDENTITY).is_file()), None)


def stamp_of(folder: Path) -> dict[str, str] | None:
    """What files in the folder of a training are bound to: its run, and its place in it; None outside of a run."""
    run = run_of(folder)
    if run is None:
        return None
    identity = read_identity(run) or {}
    fixed = {name: value for name, value in identity.items() if name != _GROWING}
    return {"identity": json_digest(fixed), "place": folder.absolute().relative_to(run.absolute()).as_posix()}


def class_count(folder: Path, part: str, column: str) -> int:
    """How many classes a column of the data had when the training in `folder`, or its run, began.

    Raises:
        ValueError: the run does not say.
    """
    run = run_of(folder)
    try:
        identity = read_identity(run) or {} if run else {}
        return int(identity.get("trained_on", identity["data"])[part][column])
    except KeyError as error:
        raise ValueError(
            f"{run or folder}/{IDENTITY} does not say how many of {column} there are; train again."
        ) from error


@contextlib.contextmanager
def recording(*folders: Path) -> Iterator[None]:
    """Inside, what a training writes into folders is noted there with its digest, for `check_written`."""
    before = [_files(folder) for folder in folders]
    yield
    for folder, old in zip(folders, before):
        path = folder / WRITTEN
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        written = [name for name, status in _files(folder).items() if not known or old.get(name) != status]
        if written:
            write_json(path, {**known, **{name: file_digest(folder / name) for name in written}})


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Name -> time and inode of the files in a folder whose content is large, and decides numbers."""
    files = [path for path in folder.glob("[!.]*") if path.suffix in (".h5", ".keras", ".npz") and path.is_file()]
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(files)}


def check_written(path: Path) -> None:
    """Raises ValueError if a file is not the one that its training has left there."""
    record = path.parent / WRITTEN
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if path.name in known and known[path.name] != file_digest(path):
        raise ValueError(
            f"{path} is not the file that its training wrote. Put that one back, or remove {path.parent} and train "
            "again."
        )


def cached_json(
    path: Path, inputs: Sequence[Path], module: str, make: Callable[[], dict[str, Any]], outputs: Sequence[Path] = ()
) -> dict[str, Any]:
    """The record that `make` returns, computed again only if its run, its inputs, its code or its outputs changed.

    Args:
        path: JSON file of the record; its field `made_from` has digests of all of them.
        inputs: files that the record is a function of, such as weights.
        module: name of the module that computes it: the code is its `source_files`.
        make: computes the record.
        outputs: files that `make` writes too.

    Raises:
        ValueError: an input is not what a training wrote.
    """
    for file in inputs:
        check_written(file)
    digests: dict[str, Any] = {
        "inputs": json_digest([file_digest(file) for file in inputs]),
        "code": json_digest(code_of(module)),
        "training": stamp_of(path.parent),
    }

    def made_from() -> dict[str, Any]:
        return digests | {"outputs": {file.name: file_digest(file) for file in outputs if file.is_file()}}

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["made_from"] == made_from() and all(file.is_file() for file in outputs):
            return record
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
        pass
    record = make()
    record = {**record, "made_from": made_from()}
    write_json(path, record)
    return record
