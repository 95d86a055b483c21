"""Adaptive L2 regularization in person re-identification (Publication I)."""
