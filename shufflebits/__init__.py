"""Encrypted embeddings, and what encryption is worth (Publication III)."""
