"""Features as a network returns them."""

import numpy as np

ELEMENTS = 512


def features(number, seed, *, signed=False, unit=True, elements=ELEMENTS):
    """Those of a network: elements of their own size that vary together; after ReLU a third are zero."""
    fixed, own = np.random.default_rng(99), np.random.default_rng(seed)
    directions, mean = fixed.normal(size=(16, elements)), fixed.normal(size=elements) - 0.2
    x = own.normal(size=(number, 16)) @ directions / 6 + mean + 0.5 * own.normal(size=(number, elements))
    if not signed:
        x = np.maximum(x, 0)
    return (x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x).astype("float32")
