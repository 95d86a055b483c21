"""Approximate indexes of faiss on one machine, whose candidates are measured exactly; needs `faiss-cpu`."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.files import replacing, write_json

from ..index import Gallery

Kind = Literal["ivf", "hnsw", "sq8"]
_TRAINED = 2**18  # exemplars at most that clusters and ranges are learned from


class FaissIndex:
    """An index of the exemplars of a gallery, in a file next to it.

    "ivf" compares with the exemplars of the clusters that are nearest to a query, "hnsw" walks a graph of neighbors,
    "sq8" compares with all, at a byte a number. They name `per_neighbor` exemplars for each one that is wanted, which
    `Gallery.query` measures in float64; what they miss is missed.

    Args:
        gallery: of the state that the index was made of.
        kind: of the index.
        effort: clusters to look into, or neighbors to keep in view; None for a thirty-second of the clusters, or 128.
        per_neighbor: exemplars to measure for each one that is wanted.

    Raises:
        ValueError: faiss is not installed, there is no such index, or the gallery has changed since.
    """

    def __init__(self, gallery: Gallery, kind: Kind, effort: int | None = None, per_neighbor: int = 10) -> None:
        faiss, file = _faiss(), _file(gallery, kind)
        try:
            state = json.loads(_state_of(file).read_text(encoding="utf-8"))["state"]
            index = faiss.read_index(str(file))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{file} cannot be read as an index of the gallery; make it with index.") from error
        if state != gallery.head.state or index.ntotal != len(gallery):
            raise ValueError(f"The gallery has changed since {file} was made; make it again with index.")
        self._faiss, self._index, self._kind, self._per_neighbor = faiss, index, kind, per_neighbor
        self._state, self._effort = state, effort

    @property
    def state(self) -> str:
        """Of the gallery that it is an index of."""
        return self._state

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """(Q, m) int64 places of exemplars that may be the k nearest, in order of adding; -1 where there are less."""
        options = {}
        if self._kind == "ivf":
            probes = self._effort or -(-self._index.nlist // 32)
            options = {"params": self._faiss.SearchParametersIVF(nprobe=min(probes, self._index.nlist))}
        elif self._kind == "hnsw":
            effort = max(self._effort or 128, self._per_neighbor * k)
            options = {"params": self._faiss.SearchParametersHNSW(efSearch=effort)}
        return self._index.search(queries, min(self._per_neighbor * k, self._index.ntotal), **options)[1]


def build_index(gallery: Gallery, kind: Kind) -> Path:
    """Makes an index of a gallery, in one rename; returns its file.

    Raises:
        ValueError: faiss is not installed, or the gallery has no exemplars.
    """
    faiss, file = _faiss(), _file(gallery, kind)
    number, width = len(gallery), gallery.head.dimensions
    if not number:
        raise ValueError(f"{gallery!r} has nothing to index; add some first.")
    clusters = max(1, min(round(4 * number**0.5), number // 39))  # faiss wants 39 exemplars or more for each
    factory = {"ivf": f"IVF{clusters},Flat", "hnsw": "HNSW32,Flat", "sq8": "SQ8"}[kind]
    index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    state = gallery.head.state
    if not index.is_trained:
        every = -(-number // _TRAINED)
        index.train(np.concatenate([block.features[block.ids % every == 0] for block in gallery.blocks()]))
    for block in gallery.blocks():
        index.add(block.features)
    if gallery.head.state != state:
        raise ValueError(f"{gallery!r} has changed meanwhile; give the same command again.")
    with replacing(file) as temporary:
        faiss.write_index(index, str(temporary))
    write_json(_state_of(file), {"state": state})
    return file


def _file(gallery: Gallery, kind: str) -> Path:
    return gallery.path.with_name(f"{gallery.path.name}.{kind}")


def _state_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ValueError("An index needs faiss, which is not installed; make install EXTRAS=faiss.") from None
    return faiss
