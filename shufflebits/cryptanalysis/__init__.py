"""The attack on ShuffleBits itself, which the publication leaves to future research."""

from .bit_statistics import BitStatistics
from .key_recovery import KnownPlaintext, Recovery, recover_key, recover_key_from_pairs, recover_key_per_element
from .study import study_ciphers, study_table
from .trials import bit_counts, plausible

__all__ = [
    "BitStatistics",
    "KnownPlaintext",
    "Recovery",
    "bit_counts",
    "plausible",
    "recover_key",
    "recover_key_from_pairs",
    "recover_key_per_element",
    "study_ciphers",
    "study_table",
]
