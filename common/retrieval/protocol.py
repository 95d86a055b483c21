"""Which pairs of a query and a gallery image count, and by which distance and rule."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.retrieval.distances import Distances, Metric, check_metric, row_blocks
from common.retrieval.embeddings import Embeddings, check_widths, is_identity, joint_numbers
from common.retrieval.ranking import exclude

RULES = ("standard", "trapezoid")


@dataclass(frozen=True)
class Protocol:
    """The rules that scores, re-ranking, expansion, search and verification share, and that their results carry.

    The default is that of person re-identification. For own pictures without cameras: `same_camera=True`.

    Average precision of M matches, the t-th of them at rank r_t:
    - "standard": mean over t of t / r_t, the precision at each match;
    - "trapezoid", of the evaluation script that came with Market-1501 (Zheng et al., ICCV 2015): mean over t of
      (t / r_t + (t - 1) / (r_t - 1)) / 2, where the second term is 1 if r_t = 1. It is the lower one
      of the two except for perfect rankings.

    Args:
        metric: "cosine" or "euclidean", as `Distances` defines them.
        junk: identity of images that are neither right nor wrong. They are in no ranking, are nobody's neighbors in
            re-ranking and expansion, and make no pairs in verification. None: no identity is.
        same_camera: whether images of the query's identity and camera count. If not, they are removed from its ranking,
            and images need camera ids.
        leave_one_out: the gallery contains the queries: each one's own image is removed from its ranking. It is the
            one with the same path; without paths, query and gallery must list the same images in the same order.
        distractors: identities that show nobody. They are wrong for every query, and no queries. Identity 0 of
            Market-1501 needs no mention, as no query has it; in MSMT17 identity 0 is a person like the others.
        ap: the rule of average precision, "standard" or "trapezoid".

    Raises:
        ValueError: an option is unknown.
    """

    metric: Metric = "cosine"
    junk: int | str | None = -1
    same_camera: bool = False
    leave_one_out: bool = False
    distractors: tuple[int | str, ...] = ()
    ap: str = "standard"

    def __post_init__(self) -> None:
        check_metric(self.metric)
        if self.ap not in RULES:
            raise ValueError(f"ap, the rule of average precision, must be one of {RULES}, got {self.ap!r}.")

    def counted(self, gallery: Embeddings) -> np.ndarray | None:
        """Indices of the gallery images that are not junk; None where all are."""
        junk = is_identity(gallery.identities, self.junk)
        if junk.all():
            raise ValueError(f"All {len(gallery)} gallery images are junk (identity {self.junk}); check identities.")
        return np.flatnonzero(~junk) if junk.any() else None

    def own_images(self, query: Embeddings, gallery: Embeddings) -> np.ndarray:
        """(Q,) gallery index of each query's own image, -1 where it has none there; see `leave_one_out`."""
        if not self.leave_one_out:
            return np.full(len(query), -1)
        if query.paths is not None and gallery.paths is not None:
            places = {path: place for place, path in enumerate(gallery.paths)}
            own = np.array([places.get(path, -1) for path in query.paths])
            if len(places) < len(gallery) or (own < 0).all():
                raise ValueError("Leave-one-out by paths needs different ones in the gallery, the queries' among them.")
            return own
        same = all(np.array_equal(getattr(query, name), getattr(gallery, name)) for name in ("identities", "cameras"))
        if not same:
            raise ValueError(
                "Leave-one-out needs paths, or the same images in the same order as query and as gallery, got other "
                "identities or cameras; give Embeddings their paths."
            )
        return np.arange(len(query))


DEFAULT = Protocol()


class Comparisons:
    """Distances of all queries to the gallery images that are not junk; NaN where a pair does not count.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        protocol: says what counts.

    Raises:
        ValueError: widths or ids do not fit, or cameras are missing that the protocol needs.
    """

    def __init__(self, query: Embeddings, gallery: Embeddings, protocol: Protocol) -> None:
        self.query, self.gallery, self.protocol = query, gallery, protocol
        self.columns = protocol.counted(gallery)  # C of the G gallery images, None for all
        counted = slice(None) if self.columns is None else self.columns
        left, right = joint_numbers("identities", query.identities, gallery.identities)
        self.identities, self.gallery_identities = left, right[counted]
        nobody = [protocol.junk, *protocol.distractors]
        self.is_somebody = ~np.any([is_identity(query.identities, name) for name in nobody], axis=0)  # (Q,)
        # Matches of query i are among members[starts[i]:stops[i]], indices in order.
        self.members = np.argsort(self.gallery_identities, kind="stable")
        ordered = self.gallery_identities[self.members]
        self.starts = np.searchsorted(ordered, left, "left")
        self.stops = np.where(self.is_somebody, np.searchsorted(ordered, left, "right"), self.starts)
        self.cameras = self._cameras(counted)
        own, places = protocol.own_images(query, gallery), np.full(len(gallery) + 1, -1)
        places[:-1][counted] = np.arange(len(self.members))
        self.own = places[own]

    def _cameras(self, counted: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Of the queries and of the gallery images that count; None where they play no part."""
        if self.protocol.same_camera:
            return None
        both = self.query.cameras, self.gallery.cameras
        if both[0] is None or both[1] is None:
            raise ValueError(
                f"The {'query' if both[0] is None else 'gallery'} has no cameras, but images of a query's own camera "
                "are to be removed; give camera ids, or Protocol(same_camera=True), on the command line --cameras none."
            )
        left, right = joint_numbers("cameras", both[0], both[1])
        return left, right[counted]

    @property
    def distances(self) -> Distances:
        """Of the queries to the C gallery images."""
        check_widths(self.query, self.gallery)
        return Distances(self.query.features, self.gallery.features, self.protocol.metric, self.columns)

    def blocks(self, distances: Any = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows, and their distances (rows, C), which are overwritten: NaN where a pair does not count.

        Args:
            distances: None for those of the features; of `rerank`; or a (Q, G) array or blocks of its rows.
        """
        if distances is None:
            distances = self.distances
        elif hasattr(distances, "check"):  # of `rerank`, which leave junk out themselves
            distances.check(self.query, self.gallery, self.protocol)
            distances = distances.blocks()
        elif not isinstance(distances, Distances):
            distances = self._given(distances)
        done = 0
        for block in distances:
            rows = slice(done, done + len(block))
            if self.cameras is not None:
                cameras, gallery_cameras = self.cameras
                exclude(block, self.starts[rows], self.stops[rows], self.members, cameras[rows], gallery_cameras)
            if self.protocol.leave_one_out:
                present = np.flatnonzero(self.own[rows] >= 0)
                block[present, self.own[rows][present]] = np.nan
            yield rows, block
            done = rows.stop

    def _given(self, distances: np.ndarray | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Distances to all G gallery images that were computed elsewhere, as blocks (rows, C) of those that count."""
        num_queries, num_gallery = len(self.query), len(self.gallery)
        is_array = hasattr(distances, "__array__")
        if is_array:
            array = np.asarray(distances)
            _check_rows(array, array.ndim == 2 and len(array) == num_queries, num_queries, num_gallery)
            distances = (array[rows] for rows in row_blocks(num_queries, num_gallery, "ranking"))
        done = 0
        for block in distances:
            block = np.asarray(block)
            dtype = np.float32 if block.dtype in (np.float16, np.float32) else np.float64
            done += len(block)
            _check_rows(block, block.ndim == 2 and done <= num_queries, num_queries, num_gallery)
            if self.columns is not None:
                block = np.array(block[:, self.columns], dtype)
            else:
                copy = True if is_array or not block.flags.writeable else None
                block = np.array(block, dtype, order="C", copy=copy)
            if np.isnan(block.sum()) and np.isnan(block).any():
                raise ValueError(
                    "distances must not be NaN; look for zero lengths or infinities where they were computed."
                )
            yield block
        if done != num_queries:
            raise ValueError(f"distances must have a row for each of the {num_queries} queries, got {done} rows.")


def _check_rows(block: np.ndarray, fits: bool, num_queries: int, num_gallery: int) -> None:
    if not fits or block.shape[1] != num_gallery:
        raise ValueError(
            f"distances must be a ({num_queries}, {num_gallery}) array, queries by gallery, or blocks of its rows, "
            f"got shape {block.shape}; are query and gallery those they were computed from?"
        )
