"""The two collections of a gallery in Milvus, its exemplars and its head as the only row; and texts in conditions."""

import json
from dataclasses import asdict, replace
from typing import Any

from ..storage import Head

_LABEL, _PATH = 1024, 4096  # bytes


def create_collections(client: Any, kind: Any, name: str, head: Head, index: str) -> None:
    """Makes those of the collections `name` and `name_head` that are not there.

    Args:
        client: `pymilvus.MilvusClient`.
        kind: `pymilvus.DataType`.
        name: of the gallery.
        head: of the exemplars that it is to have.
        index: of Milvus, for the exemplars.
    """
    for collection, width in ((name, head.dimensions), (f"{name}_head", 2)):
        if client.has_collection(collection):
            continue
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", kind.INT64, is_primary=True)
        columns = {"label": _LABEL, "path": _PATH, "sha256": 64} if collection == name else {"content": 65535}
        for column, size in columns.items():
            schema.add_field(column, kind.VARCHAR, max_length=size)
        schema.add_field("embedding", kind.FLOAT_VECTOR, dim=width)
        indexes = client.prepare_index_params()
        options = {"M": 32, "efConstruction": 200} if index == "HNSW" else {"nlist": 1024}
        which = index if collection == name else "FLAT"
        indexes.add_index("embedding", index_type=which, metric_type="IP", params={} if which == "FLAT" else options)
        for column in columns:
            if column != "content":
                indexes.add_index(column, index_type="INVERTED")
        # The heads last: they say that a gallery is there.
        client.create_collection(collection, schema=schema, index_params=indexes, consistency_level="Strong")
        if collection != name:
            client.insert(collection, [head_row(replace(head, exemplars=0, next_id=0, state=""))])


def head_row(head: Head) -> dict[str, Any]:
    """The row of a head; every collection of Milvus has vectors."""
    return {"id": 0, "content": json.dumps(asdict(head)), "embedding": [1.0, 0.0]}


def quoted(text: str | None) -> str:
    """A text in a condition; Milvus does not know the escapes that JSON has for letters beyond ASCII."""
    return json.dumps(text, ensure_ascii=False)
