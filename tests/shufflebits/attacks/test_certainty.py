"""Intervals over people and what an adversary without knowledge reaches, against scikit-learn and enumeration."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from shufflebits.attacks.attributes import balanced_accuracies
from shufflebits.attacks.certainty import certainty

PEOPLE = np.array([7, 7, 7, 3, 3, 9, 9, 9, 9, 5])
TRUTH = np.array([0, 0, 0, 1, 1, 0, 0, 0, 0, 1])
PREDICTED = np.array([0, 0, 1, 1, 1, 0, 0, 1, 0, 0])


def test_the_null_is_that_of_all_exchanges():
    order = [3, 5, 7, 9]
    own = {person: TRUTH[person == PEOPLE][0] for person in order}
    every = []
    for shuffled in permutations(order):
        given = np.array([own[shuffled[order.index(person)]] for person in PEOPLE])
        every.append(balanced_accuracy_score(given, PREDICTED))
    result = certainty({"hat": TRUTH}, {"hat": np.eye(2)[PREDICTED]}, PEOPLE, resamples=4000)["null"]
    real = balanced_accuracy_score(TRUTH, PREDICTED)
    assert result["mean"] == pytest.approx(np.mean(every), abs=0.01)
    assert result["p"] == pytest.approx(np.mean(np.array(every) >= real - 1e-9), abs=0.03)
    assert (result["low"], result["high"]) == pytest.approx(np.quantile(every, [0.025, 0.975]), abs=1e-6)


def test_the_interval_is_of_whole_people():
    """Copies of a person's images tell nothing new; the accuracy is that of the means over attributes."""
    generator = np.random.default_rng(0)
    people, truth = np.arange(60), generator.integers(0, 3, 60)
    predicted = np.where(generator.random(60) < 0.6, truth, generator.integers(0, 3, 60))
    one = certainty({"hat": truth}, {"hat": np.eye(3)[predicted]}, people)["interval"]
    copied = (np.repeat(part, 9) for part in (truth, predicted, people))
    many_truth, many_predicted, many_people = copied
    many = certainty({"hat": many_truth}, {"hat": np.eye(3)[many_predicted]}, many_people)["interval"]
    assert many == pytest.approx(one)
    value = balanced_accuracies({"hat": truth}, {"hat": np.eye(3)[predicted]})["hat"]
    deviation = np.sqrt(value * (1 - value) / 60)
    assert one[0] < value < one[1] and one[1] - one[0] == pytest.approx(2 * 1.96 * deviation, rel=0.2)


def test_attributes_that_are_not_known_do_not_count():
    truth = {"hat": np.array([0, 0, 1, 1, -1]), "bag": np.full(5, -1)}
    logits = {name: np.eye(2)[[0, 0, 1, 1, 0]] for name in truth}
    result = certainty(truth, logits, np.array([1, 1, 2, 2, 3]), resamples=200)
    # Whoever is drawn is recognized. Of six exchanges one leaves both right, two one of them, the other one unknown.
    assert result["interval"] == [1, 1] and result["null"]["p"] == pytest.approx(3 / 6, abs=0.1)
