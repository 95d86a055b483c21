"""Which parts of two images make their embeddings similar."""

import keras
import numpy as np

_POOLED = "_pooled"  # ends the names of the pooling layers of the branches


def similarity_maps(model: keras.Model, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each place of two images contributes to the cosine similarity of their embeddings.

    An embedding is a mean over the places of feature maps, so each of its numbers is a sum of shares of the places, and
    so is the product of two embeddings (Stylianou, Souvenir and Pless, "Visualizing Deep Similarity Networks", WACV
    2019). Of a generalized mean with power p the shares are those of the features to the power of p. No gradients.

    Args:
        model: images (B, H, W, 3) uint8 -> the branches' embeddings, concatenated (B, D); its pooling layers are called
            `global_pooled`, `upper_pooled` and `lower_pooled`, the latter for halves of the maps.
        first: (N, H, W, 3) uint8.
        second: (N, H, W, 3) uint8, each compared with the one in its place.

    Returns:
        (N, h, w) of the first images and of the second ones, h × w the size of the maps; each sums to the similarity of
        the pair over all places.
    """
    embeddings = [model.predict(images, verbose=0) for images in (first, second)]  # (N, D) each
    norms = [np.linalg.norm(each, axis=1) for each in embeddings]
    # They sum to the cosine.
    terms = embeddings[0] * embeddings[1] / np.maximum(norms[0] * norms[1], 1e-12)[:, np.newaxis]
    return _spread(model, first, terms), _spread(model, second, terms)


def _spread(model: keras.Model, images: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """(N, h, w): the numbers of N embeddings, (N, D), spread over the places whose features they are the mean of."""
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model) and layer.name == "extractor"]
    extractor = nested[0] if nested else model
    pooling = [layer for layer in extractor.layers if layer.name.endswith(_POOLED)]
    maps = keras.Model(extractor.input, [layer.input for layer in pooling]).predict(images, verbose=0)
    maps = dict(zip((layer.name for layer in pooling), maps if len(pooling) > 1 else [maps]))
    parts, start = {}, 0
    for name in ("global", "upper", "lower"):  # as they are concatenated
        if (features := maps.get(name + _POOLED)) is not None:
            power = float(getattr(extractor.get_layer(name + _POOLED), "trained_power", 1.0))
            powers = features if power == 1 else np.maximum(features, 1e-6) ** power  # (N, h, w, C)
            totals = powers.sum(axis=(1, 2), keepdims=True)
            shares = np.divide(powers, totals, out=np.zeros_like(powers), where=totals != 0)
            end = start + features.shape[-1]
            parts[name] = np.einsum("nhwc,nc->nhw", shares, terms[:, start:end])
            start = end
    if len(parts) == 1:
        return parts["global"]
    return parts["global"] + np.concatenate([parts["upper"], parts["lower"]], axis=1)
