"""Synthetic people in the layout of a real re-identification set."""
