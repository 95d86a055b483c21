"""The bisection that brings a rate or a quality to its target, and what a session expects."""

from types import SimpleNamespace

import numpy as np
import pytest

from neural_compression.encoder import block_versions, rate_control
from neural_compression.encoder.rate_control import Target, bisect
from neural_compression.encoder.session import EncodeSession, mean_channel
from tests.neural_compression.small_codec import picture


def bisected(target, at_most):
    """The value of the choice; values are 1, 2, 4, 8 for qualities from 3 down to 0."""
    measured = []

    def measure(networks):
        measured.append(int(networks[0, 0]))
        return 2.0 ** networks[0, 0]

    def choose(quality):
        return np.full((1, 1), int(3.999 - quality), np.uint8)

    quality = bisect(choose, measure, (3.5, 0.0), Target(target, 0.01, at_most))
    assert len(measured) == len(set(measured))
    return measure(choose(quality))


def test_bisection_gives_the_value_or_the_side_that_keeps_the_promise():
    assert [bisected(value, True) for value in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert (bisected(3, True), bisected(3, False), bisected(7.9, True), bisected(7.9, False)) == (2, 4, 4, 8)
    # The nearer end for what is out of reach.
    assert (bisected(0.1, True), bisected(9, True), bisected(0.5, False), bisected(50, False)) == (1, 8, 1, 8)


def test_bisection_ends_after_twelve_steps():
    measured = []

    def measure(networks):
        measured.append(float(networks[0]))
        return float(networks[0])

    quality = bisect(lambda q: np.array([q]), measure, (0.0, 1.0), Target(np.pi / 4, 0.0, at_most=True))
    assert len(measured) == 2 + 12 and quality == np.floor(4096 * np.pi / 4) / 4096


@pytest.mark.parametrize("selection, ends", [("lagrangian", (25.0, -5.0)), ("publication", (0.0, 100.0))])
@pytest.mark.parametrize("at_most", [True, False])
@pytest.mark.parametrize(("kind", "most"), [("smooth", 4), ("in steps", 5), ("expected otherwise", 24)])
def test_targets_are_met_with_few_measurements(selection, ends, at_most, kind, most):
    """A rate of at most 0.2, or a PSNR of at least 22 dB, as near as qualities have it.

    Both rise along the range of the quality, from 0.05 to 0.35 and from 12 to 32; what is expected is 3 % or 0.7 dB
    off, or another curve.
    """
    measured = []

    def share(networks):
        return (networks[0] - ends[0]) / (ends[1] - ends[0])

    def value(x):
        x = np.floor(13 * x) / 13 if kind == "in steps" else x
        return 0.05 + 0.3 * x if at_most else 12 + 20 * x

    def expected(networks):
        x = share(networks)
        if kind == "expected otherwise":
            return value(x**3)
        return value(x) * 0.97 if at_most else value(x) - 0.7

    def measure(networks):
        measured.append(networks[0])
        return value(share(networks))

    known = SimpleNamespace(
        choose=lambda kind, quality: np.array([quality]) if kind == selection else None,
        expected=expected, rate=measure, expected_psnr=expected, decoded=lambda networks: networks, psnr=measure,
    )  # fmt: skip
    target = (None, 0.2) if at_most else (22.0, None)
    quality = rate_control.quality_for(known, selection, *target)
    reached, further = (value(share([quality + step])) for step in (0, (2 * at_most - 1) * (ends[1] - ends[0]) / 4096))
    if at_most:
        assert reached <= 0.2 and (reached >= 0.198 or further > 0.2)
    else:
        assert reached >= 22 and (reached <= 22.02 or further < 22)
    assert len(measured) <= most + (selection == "lagrangian" and not at_most) * 2, measured
    with pytest.raises(ValueError, match="A target is needed: pass psnr or bpp"):
        rate_control.quality_for(known, selection, None, None)


@pytest.mark.parametrize("rate, end", [(0.21, 25.0), (0.1, -5.0)])
def test_the_ends_are_taken_where_nothing_is_smaller_or_larger(monkeypatch, rate, end):
    monkeypatch.setattr(rate_control, "bisect", lambda *_: calls.append(1) or end)
    known = SimpleNamespace(choose=lambda *_: "map", expected=lambda _: rate, rate=lambda _: rate)
    calls = []
    assert rate_control.quality_for(known, "lagrangian", None, 0.2) == end and len(calls) == 1


def test_what_deblocking_leaves_is_of_the_codes_as_they_are(codec, monkeypatch):
    """In place of an optimization, all bits become 0. What was expected of the codes before makes no difference."""
    monkeypatch.setattr(block_versions, "search_codes", lambda *arguments: np.zeros_like(arguments[3]))
    networks, expected = np.array([[0, 1], [2, 1]], np.uint8), []
    for known_before in (True, False):
        session = EncodeSession(codec, picture(64, 64), "context", escape=True)
        before = session.expected_psnr(networks) if known_before else None
        session.optimize(0.0, "code", None)
        expected.append(session.expected_psnr(networks))
        assert expected[-1] != before
    assert expected[0] == expected[1]


def test_mean_of_channels_is_rounded():
    image = np.array([[[0, 0, 1], [1, 1, 0], [255, 255, 255], [254, 255, 255], [10, 20, 60]]], np.uint8)
    assert mean_channel(image).tolist() == [[0, 1, 255, 255, 30]] and mean_channel(image).dtype == np.uint8
