"""Commands about a gallery as a whole: what is in it, its threshold, its place, and a way out of it."""

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from common.datasets.own_pictures import read_table
from common.files import write_parquet
from common.report.tables import table

from .engines.faiss_index import Kind, build_index
from .engines.milvus import MilvusGallery, is_milvus, opened
from .index import Gallery
from .ingest import embedded, load
from .storage import Head
from .thresholds import check_accept

_ROWS = 2**14  # exemplars in memory while they are exported


@dataclass(frozen=True)
class Info:
    """Says what a gallery is."""

    gallery: tyro.conf.Positional[str]  # file that build wrote, or a place of Milvus
    json: bool = False  # print JSON in place of a table

    def run(self) -> None:
        facts = info(self.gallery)
        rows = [[name, "–" if value is None else str(value)] for name, value in facts.items()]
        print(json.dumps(facts, indent=2) if self.json else table(["gallery", self.gallery], rows))


def info(place: str) -> dict[str, Any]:
    """What describes a gallery, as JSON values; of one in Milvus the bytes are not known."""
    gallery = opened(place)
    facts = asdict(gallery.head)
    del facts["next_id"], facts["state"]
    size = None if is_milvus(place) else Path(place).stat().st_size
    return facts | {"exemplars": len(gallery), "classes": len(gallery.classes), "bytes": size}


@dataclass(frozen=True)
class List:
    """Lists the classes of a gallery, or the exemplars of one."""

    gallery: tyro.conf.Positional[str]  # file that build wrote, or a place of Milvus
    label: str | None = None  # class whose exemplars are listed
    json: bool = False  # print JSON in place of a table

    def run(self) -> None:
        gallery = opened(self.gallery)
        rows: list[list[Any]] = [[name, count] for name, count in gallery.classes.items()]
        columns = [gallery.attribute, "exemplars"]
        if self.label is not None:
            chosen = (zip(block.ids.tolist(), block.labels, block.paths) for block in gallery.blocks())
            rows = [[number, path] for part in chosen for number, label, path in part if label == self.label]
            columns = ["number", "image"]
            if not rows:
                raise gallery.no_such(self.label, None)
        records = [dict(zip(columns, row)) for row in rows]
        print(json.dumps(records, indent=2) if self.json else table(columns, rows))


@dataclass(frozen=True)
class Calibrate:
    """Sets the distance beyond which a query is unknown, by other pictures or by the exemplars."""

    gallery: tyro.conf.Positional[Path]  # file that build wrote
    accept: float = 0.95  # share of pictures of known classes that the threshold accepts
    images: Path | None = None  # class folders or a CSV file of pictures that are no exemplars; default: the exemplars
    training: Path | None = None  # folder of the training that it was built with; needed of pictures
    skip_damaged: bool = False  # leave out images that cannot be read
    whole_images: bool = False  # where a network was trained on boxes: the images show nothing but the vehicle

    def run(self) -> None:
        if (self.images is None) != (self.training is None):
            raise ValueError("Pictures to calibrate by need their training, got one of both; pass both or neither.")
        check_accept(self.accept)
        gallery, given = Gallery(self.gallery), ()
        if self.images is not None and self.training is not None:
            listed = read_table(self.images)
            recognizer = load(self.training)
            gallery = Gallery(self.gallery, recognizer.fingerprint)
            given = embedded(recognizer, listed, self.whole_images, self.skip_damaged)
        limit = gallery.calibrate(self.accept, *given)
        print(f"{self.gallery}: queries farther than {limit:.4f} are unknown.")


@dataclass(frozen=True)
class Remove:
    """Removes a class, or the exemplar of one image."""

    gallery: tyro.conf.Positional[str]  # file that build wrote, or a place of Milvus
    label: str | None = None  # class to remove
    image: Path | None = None  # image to remove

    def run(self) -> None:
        if (self.label is None) == (self.image is None):
            raise ValueError("remove takes either --label or --image, got both or neither; pass one.")
        gallery = opened(self.gallery)
        path = None if self.image is None else os.path.abspath(self.image)
        count = gallery.remove(label=self.label, path=path)
        stale = " Its threshold is stale: set it anew with calibrate." * gallery.head.is_stale
        print(
            f"{self.gallery}: removed {count} exemplar(s). It has {len(gallery)} of {len(gallery.classes)} classes."
            f"{stale}"
        )


@dataclass(frozen=True)
class Relocate:
    """Says where the images of a gallery lie now; they are looked for there first."""

    gallery: tyro.conf.Positional[Path]  # file that build wrote
    old: tyro.conf.Positional[str]  # folder that paths in the gallery begin with
    new: tyro.conf.Positional[Path]  # folder that these images are in now
    check: bool = True  # refuse if an image is not there

    def run(self) -> None:
        gallery, new = Gallery(self.gallery), os.path.abspath(self.new)
        if self.check:
            old = self.old.rstrip("/")
            inside = [path[len(old) :] for path in gallery.paths.tolist() if path.startswith(f"{old}/")]
            missing = [new + path for path in inside if not os.path.isfile(new + path)]
            if missing:
                raise ValueError(
                    f"{len(missing)} of {len(inside)} images are not in {new}, such as {missing[0]}; pass the folder "
                    "that has them, or --no-check."
                )
        print(f"{self.gallery}: {gallery.relocate(self.old, new)} image(s) are in {new} now.")


@dataclass(frozen=True)
class Export:
    """Writes a gallery as a Parquet file, which `python -m common.retrieval` and other tools read."""

    gallery: tyro.conf.Positional[str]  # file that build wrote, or a place of Milvus
    file: tyro.conf.Positional[Path]  # .parquet to write: exemplar, label, path, sha256, embedding
    overwrite: bool = False  # replace a file that is there

    def run(self) -> None:
        if self.file.suffix.lower() != ".parquet":
            raise ValueError(f"A gallery is exported as .parquet, got {self.file}; choose such a name.")
        if self.file.exists() and not self.overwrite:
            raise ValueError(f"{self.file} exists; pass --overwrite to replace it, or choose another path.")
        gallery = opened(self.gallery)
        if not len(gallery):
            raise ValueError(f"The gallery {self.gallery} has no exemplars; add some first.")
        head = {"attribute": gallery.attribute, "fingerprint": gallery.fingerprint}
        write_parquet(self.file, _parts(gallery), head)
        print(f"{self.file}: {len(gallery)} exemplars of {len(gallery.classes)} classes.")


@dataclass(frozen=True)
class Index:
    """Makes an index of faiss next to a gallery, for query --index; to be made again once the gallery has changed."""

    gallery: tyro.conf.Positional[Path]  # file that build wrote
    kind: tyro.conf.Positional[Kind]  # clusters (ivf), a graph (hnsw), or a byte for each number (sq8)

    def run(self) -> None:
        gallery = Gallery(self.gallery)
        print(f"{build_index(gallery, self.kind)}: index of {len(gallery)} exemplars.")


@dataclass(frozen=True)
class Push:
    """Copies exemplars into Milvus, a file or a cluster; what is there already is not doubled."""

    source: tyro.conf.Positional[Path]  # gallery file, Parquet file, or folder of those that embed wrote
    place: tyro.conf.Positional[str]  # FILE.db#COLLECTION, or http://HOST:PORT#COLLECTION
    index: str = "HNSW"  # of Milvus, where the collection is made: FLAT, HNSW, IVF_FLAT …

    def run(self) -> None:
        is_table = self.source.is_dir() or self.source.suffix.lower() == ".parquet"
        head, parts = _read_parquet(self.source) if is_table else _read_gallery(self.source)
        gallery = MilvusGallery.open(self.place, head, self.index)
        steps = tqdm(parts, "push", unit="part", delay=2, leave=False)
        added = sum(gallery.add(features, labels, paths, digests) for features, labels, paths, digests in steps)
        if head.threshold is not None:
            gallery.set_threshold(head)
        print(f"{self.place}: pushed {added} exemplars. It has {len(gallery)} ({gallery.attribute}).")
        gallery.close()


_Part = tuple[np.ndarray, Sequence[str], Sequence[str], Sequence[bytes]]


def _read_gallery(path: Path) -> tuple[Head, Iterator[_Part]]:
    gallery = Gallery(path)
    return gallery.head, ((block.features, block.labels, block.paths, block.digests) for block in gallery.blocks())


def _read_parquet(source: Path) -> tuple[Head, Iterator[_Part]]:
    import pyarrow.parquet as pq

    files = sorted(source.glob("[!.]*.parquet")) if source.is_dir() else [source]
    if not files:
        raise ValueError(f"The folder {source} has no Parquet files; expected those that embed wrote.")
    heads = {file: _parquet_head(file) for file in files}
    head = heads[files[0]]
    if others := [file for file in files if heads[file] != head]:
        raise ValueError(
            f"{others[0]} has embeddings of another network, attribute or length than {files[0]}; push each into a "
            "collection of its own."
        )

    def parts() -> Iterator[_Part]:
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(1000):
                columns = batch.drop_columns(["embedding"]).to_pydict()
                digests = [bytes.fromhex(text) for text in columns.get("sha256", [""] * batch.num_rows)]
                features = batch.column("embedding").flatten().to_numpy().reshape(-1, head.dimensions)
                yield features, columns["label"], columns["path"], digests

    return head, parts()


def _parquet_head(file: Path) -> Head:
    """What a file that export or embed wrote says of its exemplars."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} cannot be read as Parquet ({reason}); expected a file of export or embed.") from error
    known = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    lacking = {"label", "path", "embedding"} - set(schema.names) | {"attribute", "fingerprint"} - known.keys()
    if lacking:
        raise ValueError(f"{file} lacks {', '.join(sorted(lacking))}; expected a file of export or of embed.")
    kind = schema.field("embedding").type
    if not pa.types.is_fixed_size_list(kind):
        raise ValueError(f"The embeddings of {file} must be lists of one length, got {kind}; write them by embed.")
    return Head(known["attribute"], known["fingerprint"], kind.list_size)


def _parts(gallery: Gallery | MilvusGallery) -> Iterator[tuple[dict[str, list], np.ndarray]]:
    blocks: list[Any] = []
    for block in itertools.chain(gallery.blocks(), [None]):
        if blocks and (block is None or sum(len(other.ids) for other in blocks) >= _ROWS):
            columns: dict[str, list] = {
                "exemplar": [number for other in blocks for number in other.ids.tolist()],
                "label": [label for other in blocks for label in other.labels],
                "path": [path for other in blocks for path in other.paths],
                "sha256": [digest.hex() for other in blocks for digest in other.digests],
            }
            yield columns, np.concatenate([other.features for other in blocks])
            blocks = []
        blocks.append(block)
