"""Pictures of a page about a run: ranked lists to browse, and versions of an image under a slider.

Each is a part of a page (`html.Part`).
"""

import base64
import functools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from common.datasets.images import read_image

_HEIGHT = 128  # pixels of a small picture
_LISTS = 30  # queries in each of both orders
_ZOOMED = 640  # pixels that the longer side of small images is enlarged to about


def data_uri(data: bytes, kind: str) -> str:
    """The bytes of a file as a `src` of their own."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


class Thumbnails:
    """Small pictures of image files, each one made once.

    Attributes:
        unread: paths of those that cannot be read.
    """

    def __init__(self) -> None:
        self.unread: list[str] = []
        self.of = functools.cache(self._make)

    def _make(self, path: str, box: tuple[int, ...] | None = None) -> str:
        """A `src` for an image file, cut to a box; empty if it cannot be read."""
        try:
            image = read_image(path, None, box)
        except ValueError:
            self.unread.append(path)
            return ""
        width = max(1, round(_HEIGHT * image.shape[1] / image.shape[0]))
        small = cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA)
        coded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        return data_uri(coded.tobytes(), "image/jpeg")


@dataclass(frozen=True)
class Picture:
    """An image of a ranked list.

    Attributes:
        source: of `Thumbnails`; None where there is no file.
        name: of the identity or the class that it shows.
        detail: lines below it, such as the distance to the query.
        right: whether it shows what the query shows.
    """

    source: str | None
    name: str
    detail: str = ""
    right: bool = False

    def html(self, rank: int) -> str:
        """The picture with its caption; rank 0 is the query."""
        style, sign = ("right", "✓") if self.right else ("wrong", "✗")
        caption = f"{rank} {sign} {self.name}" if rank else f"query: {self.name}"
        image = f"<div>{'not readable' if self.source == '' else ''}</div>"
        if self.source:
            image = f'<img alt="{escape(caption)}" src="{self.source}">'
        return (
            f'<figure class="{style if rank else "query"}">{image}'
            f"<figcaption>{escape(caption)}\n{escape(self.detail)}</figcaption></figure>"
        )


@dataclass(frozen=True)
class RankedList:
    """A query with its nearest images, nearest first."""

    title: str
    query: Picture
    nearest: Sequence[Picture]

    def html(self) -> str:
        """The list in a row."""
        figures = [picture.html(rank) for rank, picture in enumerate((self.query, *self.nearest))]
        return f'<article><h3>{escape(self.title)}</h3><div class="row" tabindex="0">{"".join(figures)}</div></article>'


def failures_and_spread(scores: np.ndarray) -> tuple[list[int], list[int]]:
    """Which of N queries to show: the lowest scores (N,), lowest first, and such as are spread over all of them."""
    spread = np.unique(np.linspace(0, len(scores) - 1, min(_LISTS, len(scores))).astype(int))
    return np.argsort(scores, kind="stable")[:_LISTS].tolist(), spread.tolist()


@dataclass(frozen=True)
class RankedLists:
    """Ranked lists to browse in two orders, of which each list is in one at least.

    Attributes:
        heading: of the part.
        caption: in a sentence or two.
        lists: number of the query -> its list.
        failures: numbers of the queries that fared worst, the worst first.
        spread: of others, from all of the set, in its order.
        figures: paths of figures of the report whose place it takes.
    """

    heading: str
    caption: str
    lists: Mapping[int, RankedList]
    failures: Sequence[int]
    spread: Sequence[int]
    figures: Collection[str] = ()

    def html(self) -> str:
        places = {query: place for place, query in enumerate(self.lists)}
        orders = {"failures first": self.failures, "spread over the test set": self.spread}
        options = "".join(
            f'<option value="{json.dumps([places[query] for query in order])}">{name} ({len(order)})</option>'
            for name, order in orders.items()
        )
        return (
            f'<div class="lists"><p>{escape(self.caption)}</p><p class="bar">'
            f'<label>Queries <select class="order">{options}</select></label>'
            '<button class="previous">‹ previous</button><button class="next">next ›</button>'
            '<label>from <select class="first"></select></label><output></output></p>'
            f'<div class="shown">{"".join(ranked.html() for ranked in self.lists.values())}</div></div>'
        )


@dataclass(frozen=True)
class Slider:
    """Versions of one image, of which two lie on each other, parted by a slider; stored without loss.

    Attributes:
        heading: of the part.
        caption: in a sentence or two.
        versions: name -> (H, W, 3) uint8, RGB, two or more of one shape, the first two to begin with.
        figures: paths of figures of the report whose place it takes.

    Raises:
        ValueError: fewer than two versions, or shapes that differ.
    """

    heading: str
    caption: str
    versions: Mapping[str, np.ndarray]
    figures: Collection[str] = ()

    def __post_init__(self) -> None:
        shapes = [image.shape for image in self.versions.values()]
        if len(shapes) < 2 or len(set(shapes)) != 1:
            raise ValueError(f"A slider needs two or more images of one shape, got {shapes}; resize them to one.")

    @classmethod
    def of_rows(cls, heading: str, caption: str, rows: Mapping[str, np.ndarray]) -> "Slider":
        """Of rows of images, name -> (N, H, W, 1 or 3) in [0, 1]."""
        versions = {}
        for name, images in rows.items():
            row = np.hstack(list(np.round(255 * np.clip(images, 0, 1)).astype("uint8")))
            versions[name.replace("\n", " ")] = np.broadcast_to(row, (*row.shape[:2], 3))
        return cls(heading, caption, versions)

    def html(self) -> str:
        height, width = next(iter(self.versions.values())).shape[:2]
        zoom = max(1, round(_ZOOMED / max(width, height)))
        lossless = [cv2.IMWRITE_WEBP_QUALITY, 101]
        images = [
            f'<img alt="{escape(name)}" src="'
            f'{data_uri(cv2.imencode(".webp", image[..., ::-1], lossless)[1].tobytes(), "image/webp")}">'
            for name, image in self.versions.items()
        ]
        sides = [
            f'<label>{side} <select class="{side}">'
            + "".join(
                f"<option{' selected' if i == at else ''}>{escape(name)}</option>"
                for i, name in enumerate(self.versions)
            )
            + "</select></label>"
            for at, side in enumerate(("left", "right"))
        ]
        return (
            f'<div class="slider"><p>{escape(self.caption)} Drag the line, or move it with the arrow keys.</p>'
            f'<p class="bar" style="max-width: max({zoom * width}px, 46rem)">{"".join(sides)}</p>'
            f'<div class="views{" enlarged" if zoom > 1 else ""}" style="max-width: {zoom * width}px; '
            f'aspect-ratio: {width}/{height}">{"".join(images)}<input type="range" min="0" max="100" '
            'step="0.5" value="50" aria-label="share of the left version, in percent"></div></div>'
        )
