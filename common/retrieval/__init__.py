"""Ranking, scoring and re-ranking of embeddings of any framework, in bounded memory."""

from common.retrieval.analysis import confidence_interval, score_by, score_by_camera_pair
from common.retrieval.distances import Distances
from common.retrieval.embeddings import Embeddings, load_embeddings, save_embeddings
from common.retrieval.expansion import expand
from common.retrieval.metrics import Scores, score
from common.retrieval.reranking import RerankedDistances, rerank
from common.retrieval.verification import Verification, Verifier, calibrate, verification_rates

__all__ = [
    "Distances", "Embeddings", "RerankedDistances", "Scores", "Verification", "Verifier", "calibrate",
    "confidence_interval", "expand", "load_embeddings", "rerank", "save_embeddings", "score", "score_by",
    "score_by_camera_pair", "verification_rates",
]  # fmt: skip
