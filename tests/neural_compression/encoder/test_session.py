"""The bisection that brings a rate or a quality to its target."""

import numpy as np
import pytest

from neural_compression.encoder.session import Target, bisect, mean_channel


def bisected(target, at_most, **options):
    """The value of the choice; values are 1, 2, 4, 8 for qualities from 3 down to 0."""
    measured = []

    def measure(networks):
        measured.append(int(networks[0, 0]))
        return 2.0 ** networks[0, 0]

    def choose(quality):
        return np.full((1, 1), int(3.999 - quality), np.uint8)

    quality = bisect(choose, measure, (3.5, 0.0), Target(target, 0.01, "{:g}", at_most), **options)
    assert len(measured) == len(set(measured))
    return measure(choose(quality))


def test_bisection_gives_the_value_or_the_side_that_keeps_the_promise():
    assert [bisected(value, True) for value in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert (bisected(3, True), bisected(3, False), bisected(7.9, True), bisected(7.9, False)) == (2, 4, 4, 8)
    assert (bisected(0.1, True, may_miss=True), bisected(50, False, may_miss=True)) == (1, 8)
    with pytest.raises(ValueError, match="^The nearest that this image can have is 8, got the target 9; pass that one"):
        bisected(9, True)
    with pytest.raises(ValueError, match="is 1, got the target 0.5"):
        bisected(0.5, False)


def test_mean_of_channels_is_rounded():
    image = np.array([[[0, 0, 1], [1, 1, 0], [255, 255, 255], [254, 255, 255], [10, 20, 60]]], np.uint8)
    assert mean_channel(image).tolist() == [[0, 1, 255, 255, 30]] and mean_channel(image).dtype == np.uint8
