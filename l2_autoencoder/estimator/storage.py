"""The file of a fitted estimator: an npz file of arrays and one JSON text, whose fields are those named here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from common.files import read_arrays, replacing

_NAME, VERSION = "autoencoder-clustering", 2
# Attribute -> its type; of an estimator's own it says which it has.
_NUMBERS = {"inertia_": float, "n_iter_": int, "n_features_in_": int, "_n_features_out": int}
_OWN_NUMBERS = {"threshold_": float, "offset_": float}
# Array -> number of its axes.
_ARRAYS = {"cluster_centers_": 2, "loss_": 1}
_OWN_ARRAYS = {"labels_": 1}


def save(estimator: BaseEstimator, path: Path) -> None:
    """Writes a fitted estimator in one rename."""
    numbers, arrays = _schema(type(estimator))
    parameters = estimator.get_params(deep=False)
    if not isinstance(parameters["random_state"], (int, np.integer)):
        parameters["random_state"] = None  # a generator
    names = getattr(estimator, "feature_names_in_", None)
    head = {
        "class": type(estimator).__name__,
        "parameters": {name: _plain(value) for name, value in parameters.items()},
        "network": {name: _plain(value) for name, value in estimator._network_options.items()},
        "numbers": {name: kind(getattr(estimator, name)) for name, kind in numbers.items()},
        "pixel_range": [float(value) for value in estimator.pixel_range_],
        "feature_names": None if names is None else [str(name) for name in names],
    }
    weights = estimator._network.training_model.get_weights()
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            format=f"{_NAME} {VERSION}",
            head=json.dumps(head),
            **{name: np.asarray(getattr(estimator, name)) for name in arrays},
            **{f"weight {i:03d}": weight for i, weight in enumerate(weights)},
        )


def load(kind: type[BaseEstimator], path: Path) -> Any:
    """Reads an estimator of a class.

    Raises:
        ValueError: as of `AutoencoderEstimator.load`.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}; pass one that {kind.__name__}.save wrote.")
    foreign = f"{path} is not a file that {kind.__name__}.save wrote, or it is damaged"
    try:
        stored = read_arrays(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{foreign}: it is no npz file of plain arrays.") from error
    name, _, version = str(stored.pop("format", "")).rpartition(" ")
    if name != _NAME:
        raise ValueError(f"{foreign}: it does not say that it is one.")
    if version != str(VERSION):
        raise ValueError(f"{path} is of version {version}, expected {VERSION}; fit the estimator again and save it.")
    try:
        head = json.loads(str(stored.pop("head")))
        written = head["class"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{foreign} ({error!r}).") from error
    if written != kind.__name__:
        raise ValueError(f"{path} has an {written}, expected {kind.__name__}; load it with that class.")
    try:
        return _estimator(kind, head, stored)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{foreign} ({' '.join(str(error).split())}).") from error


def _estimator(kind: type[BaseEstimator], head: dict[str, Any], stored: dict[str, np.ndarray]) -> Any:
    numbers, arrays = _schema(kind)
    parameters = dict(head["parameters"])
    if parameters["image_shape"] is not None:
        parameters["image_shape"] = tuple(parameters["image_shape"])  # JSON has no tuples
    estimator = kind(**parameters)
    estimator._validate_params()
    network = {**head["network"], "image_shape": tuple(head["network"]["image_shape"])}
    state: dict[str, Any] = {"_network_options": network, "image_shape_": network["image_shape"]}
    state["pixel_range_"] = tuple(float(value) for value in head["pixel_range"])
    if head["feature_names"] is not None:
        state["feature_names_in_"] = np.array(head["feature_names"], object)
    state |= {name: number(head["numbers"][name]) for name, number in numbers.items()}
    for name, ndim in arrays.items():
        array = stored.pop(name)
        if array.ndim != ndim or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}")
        state[name] = array
    if state["cluster_centers_"].shape[1] != network["embedding_size"]:
        raise ValueError(f"centers of {state['cluster_centers_'].shape[1]} dimensions")
    weights = sorted(name for name in stored if name.startswith("weight "))
    if len(weights) != len(stored):
        raise ValueError(f"unknown arrays {sorted(set(stored) - set(weights))}")
    estimator.__setstate__({**vars(estimator), **state, "_network": [stored[name] for name in weights]})
    return estimator


def _schema(kind: type[BaseEstimator]) -> tuple[dict[str, type], dict[str, int]]:
    """Attribute -> type of its number; attribute -> axes of its array."""
    own = kind._stored
    numbers = _NUMBERS | {name: number for name, number in _OWN_NUMBERS.items() if name in own}
    return numbers, _ARRAYS | {name: ndim for name, ndim in _OWN_ARRAYS.items() if name in own}


def _plain(value: Any) -> Any:
    """A parameter as JSON has it.

    Raises:
        ValueError: it is none of ours.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"Parameters are numbers, texts and tuples of them, got {type(value).__name__}; set another.")
