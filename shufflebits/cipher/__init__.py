"""Authenticated encryption, files of keys, and ShuffleBits outside of a network."""
