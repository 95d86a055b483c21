"""Memory of a contender; apart from `tests.helpers`, which would load Keras into each of them."""

import resource


def peak_gib() -> float:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
