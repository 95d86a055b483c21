import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.datasets.sampler import ImageBalancedSampler, check_parts, identity_batches

# Identities 10, 20, …, 70 with 1, 2, …, 7 images, mixed.
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10, 80, 10), np.arange(1, 8)))


def batches(labels=LABELS, p=3, k=4, steps=5, seed=0, epoch=0):
    return identity_batches(labels, identities_per_batch=p, images_per_identity=k, steps=steps, seed=seed, epoch=epoch)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    data=st.data(),
    k=st.integers(1, 8),
    steps=st.integers(1, 9),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 100),
)
def test_every_batch_has_p_identities_and_k_images_of_each(counts, data, k, steps, epoch, seed):
    p = data.draw(st.integers(1, len(counts)))
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 3 - 5, counts))
    indices = batches(labels, p, k, steps, seed, epoch)
    assert indices.shape == (steps, p * k) and indices.dtype == "int64"
    for batch in indices:
        rows = labels[batch].reshape(p, k)
        assert (rows == rows[:, :1]).all() and len(set(rows[:, 0])) == p
        for images in batch.reshape(p, k):
            n = (labels == labels[images[0]]).sum()
            times = Counter(images.tolist())
            assert set(times.values()) <= {k // n, k // n + 1} and len(times) == min(n, k)


@pytest.mark.parametrize(("p", "round_length"), [(3, 3), (2, 4), (7, 1)])
@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_every_identity_has_its_turn_in_every_round_through_the_epochs(p, round_length, steps):
    total = 12 * round_length
    epochs = [batches(p=p, steps=steps, epoch=epoch) for epoch in range(-(-total // steps))]
    turns = LABELS[np.concatenate(epochs)][:total, ::4].reshape(12, -1)
    assert all(set(turn) == set(LABELS) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 6  # each round has an order of its own
    filled = turns[:, 7:]  # what fills up the last batch is the round's beginning
    np.testing.assert_array_equal(filled, turns[:, : filled.shape[1]])


def test_batches_are_a_function_of_seed_and_epoch():
    np.testing.assert_array_equal(batches(epoch=3), batches(epoch=3))
    assert (batches(epoch=3) != batches(epoch=4)).any() and (batches(epoch=3) != batches(epoch=3, seed=1)).any()
    # The same identities in other cuts of the sequence of batches: epoch 1 of 6 is epoch 2 of 3 and then 3.
    np.testing.assert_array_equal(
        LABELS[batches(steps=6, epoch=1)],
        LABELS[np.concatenate([batches(steps=3, epoch=2), batches(steps=3, epoch=3)])],
    )


def test_all_subsets_of_images_are_equally_likely():
    # 3 of 6 images: 20 subsets, 6,000 draws, 300 each; chi-squared with 19 degrees of freedom, 0.1 % tail.
    indices = batches(np.zeros(6, int), p=1, k=3, steps=6000)
    counts = Counter(tuple(sorted(batch)) for batch in indices.tolist())
    assert set(counts) == set(combinations(range(6), 3))
    assert sum((count - 300) ** 2 / 300 for count in counts.values()) < 43.8


def test_what_is_repeated_once_more_is_random():
    # 5 images of an identity with 3: each once or twice; the one that comes once is any of them.
    indices = batches(np.zeros(3, int), p=1, k=5, steps=3000)
    once = Counter(int(np.argmin(np.bincount(batch, minlength=3))) for batch in indices)
    assert sum((count - 1000) ** 2 / 1000 for count in once.values()) < 13.8  # 2 degrees of freedom, 0.1 % tail


def test_pairs_of_identities_meet_equally_often():
    # 2 of 4 identities: 6 pairs, 2 of them in a round; 3,000 rounds, 1,000 meetings each.
    labels = np.arange(4)
    indices = batches(labels, p=2, k=1, steps=6000)
    counts = Counter(tuple(sorted(batch)) for batch in indices.tolist())
    assert len(counts) == 6 and max(abs(count - 1000) for count in counts.values()) < 100


def test_equal_parts_hold_whole_identities():
    check_parts(16, 4)
    parts = LABELS[batches(p=4)].reshape(5, 2, 8)
    assert all(len(set(part)) == 2 for batch in parts for part in batch)
    with pytest.raises(
        ValueError, match="16 identities per batch cannot be split over 3 replicas; use a multiple of 3"
    ):
        check_parts(16, 3)


def test_impossible_batches_are_refused():
    with pytest.raises(ValueError, match="A batch of 8 identities needs as many to choose from, the data have 7"):
        batches(p=8)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        batches(k=0)


def balanced(labels, p, k, seed=0):
    return ImageBalancedSampler(labels, identities_per_batch=p, images_per_identity=k, seed=seed)


def test_image_balanced_counts_by_hand():
    """5, 4, 2 and 1 images in chunks of two: 2, 2, 1 and no chunks, of which a batch takes two identities.

    The first batch is AB, AC or BC. After AB one chunk of each is left, the second batch is any of the three pairs, and
    one chunk stays over. After AC or BC the second batch must be AB. So A and B give (5/3 + 2 + 1) / 3 = 14/9 chunks
    per round, C (2/3 + 1 + 1) / 3 = 8/9, and every round has two batches.
    """
    labels = np.array([7, 3, 7, 9, 3, 7, 5, 7, 3, 9, 3, 7])  # A: 7, B: 3, C: 9, D: 5
    rounds = 3000
    batches = balanced(labels, 2, 2).batches(2 * rounds, 0)
    counts = np.bincount(batches.ravel(), minlength=len(labels)) / rounds
    expected = {7: 14 / 9 * 2 / 5, 3: 14 / 9 * 2 / 4, 9: 8 / 9, 5: 0}
    np.testing.assert_allclose(counts, [expected[label] for label in labels], atol=0.03)  # over three standard errors
    for images in batches.reshape(rounds, -1):  # a round takes no image twice
        assert len(set(images)) == 8


def check_round(labels, p, k, batches):
    """What must hold of the batches of one round, by a count of each identity's chunks."""
    chunks = {identity: int((labels == identity).sum()) // k for identity in set(labels)}
    chunks = {identity: count for identity, count in chunks.items() if count}
    for batch in batches:
        assert len(chunks) >= p  # the round was not over
        rows = labels[batch].reshape(p, k)
        assert (rows == rows[:, :1]).all() and len(set(rows[:, 0])) == p
        for identity in rows[:, 0]:
            chunks[identity] -= 1
        chunks = {identity: count for identity, count in chunks.items() if count}
    assert len(chunks) < p  # and now it is


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=12),
    data=st.data(),
    k=st.integers(1, 4),
    steps=st.integers(1, 9),
    seed=st.integers(0, 100),
)
def test_image_balanced_rounds_are_whole_and_go_on_through_the_epochs(counts, data, k, steps, seed):
    able = sum(count >= k for count in counts)
    if able == 0:
        return
    p = data.draw(st.integers(1, able))
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 3 - 5, counts))
    epochs = np.concatenate([balanced(labels, p, k, seed).batches(steps, epoch) for epoch in range(8)])
    assert epochs.shape == (8 * steps, p * k) and epochs.dtype == "int64"
    # However the sequence of batches is cut into epochs, it is the same; so is an epoch by itself, as after a resume.
    np.testing.assert_array_equal(epochs, balanced(labels, p, k, seed).batches(8 * steps, 0))
    np.testing.assert_array_equal(epochs[7 * steps : 8 * steps], balanced(labels, p, k, seed).batches(steps, 7))
    sampler, start = balanced(labels, p, k, seed), 0
    sampler.batches(8 * steps, 0)
    for end in sampler._ends[1:-1]:
        check_round(labels, p, k, epochs[start:end])
        assert len(set(epochs[start:end].ravel())) == (end - start) * p * k  # no image twice
        start = end


# As many training images per person as Market-1501 has: 2 to 72, 15 in the middle, 751 people, some 12,900 images.
MARKET = np.repeat(np.arange(751), np.clip(np.random.default_rng(0).gamma(2.6, 6.6, 751).astype(int), 2, 72))


def test_images_of_a_market_like_set_come_about_equally_often():
    options = {"identities_per_batch": 16, "images_per_identity": 4, "seed": 0}
    sampler, enough = ImageBalancedSampler(MARKET, **options), np.bincount(MARKET)[MARKET] >= 4
    by_image = np.concatenate([sampler.batches(200, epoch) for epoch in range(30)])
    by_identity = np.concatenate([identity_batches(MARKET, steps=200, epoch=epoch, **options) for epoch in range(30)])
    counts, uneven = (np.bincount(rows.ravel(), minlength=len(MARKET)) for rows in (by_image, by_identity))
    assert counts[enough].min() / counts.max() > 0.25 and uneven[enough].min() / uneven.max() < 0.05
    assert (counts[~enough] == 0).all() and 0 < (~enough).mean() < 0.02
    # Of n images a round takes 4 · floor(n / 4), until few identities are left: the ratio above is 4/7 and chance.
    sizes, rounds = np.bincount(MARKET)[MARKET], len(sampler._ends) - 1.5
    for n in (4, 7, 8, 15, 20, 31):
        assert counts[sizes == n].mean() == pytest.approx(rounds * (4 * (n // 4) / n), rel=0.04)


def test_too_few_identities_with_enough_images_are_refused():
    # Of 1, 2, …, 7 images four identities have four or more.
    with pytest.raises(
        ValueError,
        match="needs 5 identities with 4 or more images each, and of the 7 of the data 4 have so many. Use fewer",
    ):
        balanced(LABELS, 5, 4)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        balanced(LABELS, 3, 0)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        balanced(LABELS, 3, 2).batches(0, 0)


def test_image_balanced_batches_are_the_same_from_several_threads(monkeypatch):
    """Rounds that take a while, and epochs of many rounds that eight threads ask for at once, each twice."""
    turns = ImageBalancedSampler._turns

    def slow(self, number):
        time.sleep(0.002)
        return turns(self, number)

    shape = {"identities_per_batch": 3, "images_per_identity": 2, "seed": 5}
    alone = [ImageBalancedSampler(LABELS, **shape).batches(steps=7, epoch=epoch) for epoch in range(8)]
    monkeypatch.setattr(ImageBalancedSampler, "_turns", slow)
    shared = ImageBalancedSampler(LABELS, **shape)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: shared.batches(steps=7, epoch=i % 8), range(16)))
    np.testing.assert_array_equal(together, alone * 2)
