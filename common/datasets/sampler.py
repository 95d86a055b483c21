"""Batches of P identities with K images each, as triplet losses need them, as a function of (seed, epoch)."""

import numpy as np

_ROUND, _IMAGES = 0, 1  # keep the two streams of random numbers apart


def identity_batches(
    labels: np.ndarray, *, identities_per_batch: int, images_per_identity: int, steps: int, seed: int, epoch: int
) -> np.ndarray:
    """The samples of all batches of an epoch, as a pure function of the arguments.

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
    smallest = min(identities_per_batch, images_per_identity, steps)
    if smallest < 1:
        raise ValueError(f"Identities per batch, images per identity and steps must be at least 1, got {smallest}.")
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
