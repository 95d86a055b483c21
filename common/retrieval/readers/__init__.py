"""Embeddings from files that other programs have written."""

from common.retrieval.readers.names import FORMATS, load_embeddings

__all__ = ["FORMATS", "load_embeddings"]
