"""Batches of P identities with K images each, as triplet losses need them, as a function of (seed, epoch).

`identity_batches` draws identities equally often, `ImageBalancedSampler` images.
"""

import threading

import numpy as np

_ROUND, _IMAGES = 0, 1  # keep the two streams of random numbers apart


class ImageBalancedSampler:
    """Batches in which images are drawn about equally often, as in the author's programs of Publications I and II.

    In each round the images of every identity are shuffled and cut into chunks of K; the rest is dropped, and
    identities with fewer than K images are skipped. A batch takes one chunk of each of P identities, drawn without
    replacement. An identity whose chunks are used up leaves the round, which ends when fewer than P identities remain.

    Rounds go on through the epochs. A round of Market-1501 is about 180 batches, one of MSMT17 about 500, and an epoch
    200. A round that an epoch cut off would favor small identities: its beginning draws all identities alike.

    Args:
        labels: (N,) identity of each sample, any integers.
        identities_per_batch: P.
        images_per_identity: K.
        seed: of everything.

    Raises:
        ValueError: fewer than P identities have K images, or a number below 1.
    """

    def __init__(self, labels: np.ndarray, *, identities_per_batch: int, images_per_identity: int, seed: int):
        _check_positive(identities_per_batch, images_per_identity)
        self._labels = np.asarray(labels)
        self._p, self._k, self._seed = identities_per_batch, images_per_identity, seed
        _, starts, counts = np.unique(np.sort(self._labels), return_index=True, return_counts=True)
        large = counts >= images_per_identity
        self._starts, self._chunks = starts[large], counts[large] // images_per_identity
        if len(self._chunks) < identities_per_batch:
            raise ValueError(
                f"A batch needs {identities_per_batch} identities with {images_per_identity} or more images each, and "
                f"of the {len(counts)} of the data {len(self._chunks)} have so many. Use fewer identities per batch or "
                "images per identity, or balance identities instead of images."
            )
        self._ends = [0]  # of the rounds so far, in batches; a function of the arguments, remembered
        self._growing = threading.Lock()  # batches are made in several threads

    def batches(self, steps: int, epoch: int) -> np.ndarray:
        """The samples of all batches of an epoch, as a pure function of the arguments.

        Args:
            steps: S, batches per epoch.
            epoch: which one, from 0.

        Returns:
            (S, P·K) int64 indices of samples; the K images of an identity follow each other.

        Raises:
            ValueError: steps below 1.
        """
        _check_positive(steps)
        first, last = epoch * steps, (epoch + 1) * steps
        with self._growing:
            while self._ends[-1] < last:
                self._ends.append(self._ends[-1] + len(self._turns(len(self._ends) - 1)[0]))
        number = int(np.searchsorted(self._ends, first, side="right")) - 1
        rounds, skipped = [], first - self._ends[number]
        while self._ends[number] < last:
            rounds.append(self._round(number))
            number += 1
        return np.concatenate(rounds)[skipped : skipped + steps]

    def _round(self, number: int) -> np.ndarray:
        """(R, P·K): the samples of the R batches of a round."""
        identities, chunks = self._turns(number)
        rng = np.random.default_rng([self._seed, _IMAGES, number])
        shuffled = np.lexsort((rng.random(len(self._labels)), self._labels))  # by identity, in random order within
        first = self._starts[identities] + self._k * chunks  # (R, P)
        return shuffled[first[:, :, np.newaxis] + np.arange(self._k)].reshape(len(first), -1)

    def _turns(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(R, P) identities of the batches of a round, and (R, P) which of its chunks each of them takes."""
        rng = np.random.default_rng([self._seed, _ROUND, number])
        remaining, left = np.arange(len(self._chunks)), self._chunks.copy()
        identities, chunks = [], []
        while len(remaining) >= self._p:
            chosen = remaining[rng.choice(len(remaining), self._p, replace=False, shuffle=False)]
            left[chosen] -= 1
            identities.append(chosen)
            chunks.append(left[chosen])
            if not chunks[-1].all():
                remaining = remaining[left[remaining] > 0]
        return np.array(identities), np.array(chunks)


def _check_positive(*numbers: int) -> None:
    if min(numbers) < 1:
        raise ValueError(f"Identities per batch, images per identity and steps must be at least 1, got {min(numbers)}.")


def identity_batches(
    labels: np.ndarray, *, identities_per_batch: int, images_per_identity: int, steps: int, seed: int, epoch: int
) -> np.ndarray:
    """The samples of all batches of an epoch, in which identities are drawn equally often; a pure function.

    Identities take turns in rounds: a round is a random order of all identities, cut into batches; its last batch
    is filled up from the round's start. So no identity is twice in a batch, and each has its turn in every
    round. Rounds go on through the epochs: epoch e begins with batch e·steps.

    Of an identity with n images, each is taken floor(K / n) times, and K mod n different ones once more. That is
    K different images at random if there are so many, and otherwise as few repetitions as possible.

    Args:
        labels: (N,) identity of each sample, any integers.
        identities_per_batch: P.
        images_per_identity: K.
        steps: S, batches per epoch.
        seed: of everything.
        epoch: which one, from 0.

    Returns:
        (S, P·K) int64 indices of samples; the K images of an identity follow each other.

    Raises:
        ValueError: fewer identities than P, or a number below 1.
    """
    _check_positive(identities_per_batch, images_per_identity, steps)
    labels = np.asarray(labels)
    by_identity = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[by_identity], return_index=True, return_counts=True)
    if len(counts) < identities_per_batch:
        raise ValueError(
            f"A batch of {identities_per_batch} identities needs as many to choose from, the data have {len(counts)}. "
            "Use fewer identities per batch."
        )
    chosen = _turns(len(counts), identities_per_batch, steps, seed, epoch).ravel()  # (S·P,)
    rng = np.random.default_rng([seed, _IMAGES, epoch])
    images = _choose_images(counts[chosen], images_per_identity, rng)  # (S·P, K), below the identity's count
    return by_identity[starts[chosen, np.newaxis] + images].reshape(steps, -1)


def check_parts(identities_per_batch: int, parts: int) -> None:
    """A batch must split into equally many identities for each replica, whose means of losses count alike.

    Raises:
        ValueError: the number of parts does not divide the number of identities.
    """
    if identities_per_batch % parts:
        raise ValueError(
            f"{identities_per_batch} identities per batch cannot be split over {parts} replicas; "
            f"use a multiple of {parts}, or fewer replicas."
        )


def _turns(num_identities: int, per_batch: int, steps: int, seed: int, epoch: int) -> np.ndarray:
    """(S, P): the identities of each batch of an epoch, 0..C-1."""
    batches_per_round = -(-num_identities // per_batch)
    first = epoch * steps
    rounds = range(first // batches_per_round, (first + steps - 1) // batches_per_round + 1)
    orders = [np.random.default_rng([seed, _ROUND, number]).permutation(num_identities) for number in rounds]
    # np.resize goes on from the start of the order where the last batch is not full.
    batches = np.concatenate([np.resize(order, (batches_per_round, per_batch)) for order in orders])
    skipped = first - rounds[0] * batches_per_round
    return batches[skipped : skipped + steps]


def _choose_images(counts: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """For each of R identities with n = counts[r] images, K numbers below n as the rule of `identity_batches` says.

    Floyd's algorithm draws a random subset of m of n without a table of all n: for j = n - m, …, n - 1
    it takes a random number of 0..j, or j itself if that number is taken already.
    """
    repeated = wanted // counts * counts  # numbers that belong to whole repetitions
    extra = wanted - repeated
    columns = np.arange(wanted)
    chosen = np.where(columns < repeated[:, np.newaxis], columns % counts[:, np.newaxis], -1)
    for column in range(wanted):
        j = counts - extra + (column - repeated)
        draws = column >= repeated
        number = rng.integers(np.where(draws, j, 0) + 1)
        # Only what this subset holds counts as taken, not the repetitions before it.
        taken = np.any((chosen == number[:, np.newaxis]) & (columns >= repeated[:, np.newaxis]), axis=1)
        chosen[:, column] = np.where(draws, np.where(taken, j, number), chosen[:, column])
    return chosen
