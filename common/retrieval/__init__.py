"""Ranking, scoring and re-ranking of embeddings of any framework under one protocol, in bounded memory."""

from common.retrieval.analysis import confidence_interval, score_by, score_by_camera_pair
from common.retrieval.distances import Distances
from common.retrieval.embeddings import Embeddings, save_embeddings
from common.retrieval.expansion import expand
from common.retrieval.metrics import Scores, score
from common.retrieval.protocol import Protocol
from common.retrieval.readers import load_embeddings
from common.retrieval.reranking import RerankedDistances, rerank
from common.retrieval.search import Neighbors, search
from common.retrieval.verification import Verification, Verifier, calibrate, verification_rates

__all__ = [
    "Distances", "Embeddings", "Neighbors", "Protocol", "RerankedDistances", "Scores", "Verification", "Verifier",
    "calibrate", "confidence_interval", "expand", "load_embeddings", "rerank", "save_embeddings", "score", "score_by",
    "score_by_camera_pair", "search", "verification_rates",
]  # fmt: skip
