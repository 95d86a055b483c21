"""Golden values of tensorflow-addons' metric-learning losses; run by `make golden`.

Writes `tfa_losses.npz`: for each case `CASE/embeddings` (N, D) float32, `CASE/labels` (N,) int32, and for
each loss `CASE/LOSS/value` () and `CASE/LOSS/gradient` (N, D). Some values are NaN or infinite: that is what the
addons return there, and ours must not.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

LOSSES = {
    "triplet_hard_margin_1": tfa.losses.TripletHardLoss(margin=1.0),
    "triplet_hard_margin_0.3": tfa.losses.TripletHardLoss(margin=0.3),
    "triplet_hard_soft": tfa.losses.TripletHardLoss(soft=True),
    "lifted_structured_margin_1": tfa.losses.LiftedStructLoss(margin=1.0),
}


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (embeddings, labels)."""
    random = np.random.default_rng(0)

    def batch(identities: int, images: int, size: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(identities), images)
        centers = random.normal(size=(identities, size))
        return scale * (centers[labels] + 0.7 * random.normal(size=(len(labels), size))), labels

    batches = {
        f"regular_{i}": batch(p, k, d) for i, (p, k, d) in enumerate([(4, 4, 8), (8, 2, 16), (3, 5, 2), (16, 4, 64)])
    }
    embeddings, labels = batch(4, 4, 8)
    batches["unit_length"] = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), labels)
    batches["close"] = batch(4, 4, 8, scale=1e-2)
    batches["uneven"] = (random.normal(size=(9, 4)), np.array([0, 0, 0, 0, 1, 1, 2, 2, 3]))
    batches["shuffled"] = (embeddings[::3], labels[::3])
    batches["duplicates"] = (np.repeat(embeddings[::2], 2, axis=0), labels)
    batches["collapsed"] = (np.ones((8, 4)), np.repeat(np.arange(4), 2))
    batches["far"] = batch(4, 4, 8, scale=100.0)
    batches["one_class"] = (random.normal(size=(6, 4)), np.zeros(6))
    batches["no_positives"] = (random.normal(size=(6, 4)), np.arange(6))
    return {name: (e.astype("float32"), i.astype("int32")) for name, (e, i) in batches.items()}


def main() -> None:
    """Writes the file beside this one."""
    arrays = {}
    for case, (embeddings, labels) in cases().items():
        arrays[f"{case}/embeddings"], arrays[f"{case}/labels"] = embeddings, labels
        for name, loss in LOSSES.items():
            # A constant: the addons' functions capture a tf.Variable and fail on the next one.
            points = tf.constant(embeddings)
            with tf.GradientTape() as tape:
                tape.watch(points)
                value = loss(labels, points)
            arrays[f"{case}/{name}/value"] = value.numpy()
            arrays[f"{case}/{name}/gradient"] = tape.gradient(value, points).numpy()
            print(f"{case:14s} {name:28s} {value.numpy():.6g}")
    np.savez_compressed(Path(__file__).with_name("tfa_losses.npz"), **arrays)


if __name__ == "__main__":
    main()
