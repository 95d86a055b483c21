"""The bisection that brings a rate or a quality to its target."""

from types import SimpleNamespace

import numpy as np
import pytest

from neural_compression.encoder import rate_control
from neural_compression.encoder.rate_control import Target, bisect
from neural_compression.encoder.session import mean_channel


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


def test_bisection_ends_after_twelve_steps():
    measured = []

    def measure(networks):
        measured.append(float(networks[0]))
        return float(networks[0])

    quality = bisect(lambda q: np.array([q]), measure, (0.0, 1.0), Target(np.pi / 4, 0.0, "{:g}", at_most=True))
    assert len(measured) == 2 + 12 and quality == np.floor(4096 * np.pi / 4) / 4096


@pytest.mark.parametrize("selection, ends", [("lagrangian", (25.0, -5.0)), ("publication", (0.0, 100.0))])
@pytest.mark.parametrize("rate, searches", [(0.1985, 1), (0.2001, 4), (0.1979, 4)])
def test_targets_and_what_they_are_measured_by(monkeypatch, selection, ends, rate, searches):
    """PSNRs to 0.02 dB. Rates to 1 % from below: by what is expected, corrected twice, then by files themselves."""
    calls = []

    def record(choose, measure, *rest, may_miss):
        calls.append((measure("map"), *rest, may_miss))
        return f"quality of {choose(3)}"

    monkeypatch.setattr(rate_control, "bisect", record)
    known = SimpleNamespace(
        choose=lambda selection, quality: f"map by {selection}",
        expected=lambda networks: 0.19,
        rate=lambda networks: rate if networks.startswith("map") else None,
        decoded=lambda networks: f"image of {networks}",
        psnr=lambda image: 29.0 if image == f"image of map by {selection}" else f"PSNR of {image}",
    )
    quality = f"quality of map by {selection}"
    assert rate_control.quality_for(known, selection, 30.0, None) == quality
    target = Target(30.0, 0.02, "a PSNR of {:.2f} dB", False)
    assert calls == [("PSNR of image of map", ends, target, True)]
    calls.clear()
    assert rate_control.quality_for(known, selection, None, 0.2) == quality
    corrected = 0.2 - 0.0005 - (rate - 0.19)
    aims = [(0.19, 0.2, 0.001), (0.19, corrected, 0.001), (0.19, corrected, 0.001), (rate, 0.2, 0.002)][:searches]
    assert [(c[0], c[2].value, c[2].tolerance) for c in calls] == [pytest.approx(aim) for aim in aims]
    assert all(c[1] == ends and c[2].at_most and c[3] for c in calls)
    with pytest.raises(ValueError, match="A target is needed: pass psnr or bpp"):
        rate_control.quality_for(known, selection, None, None)


@pytest.mark.parametrize("rate, end", [(0.21, 25.0), (0.1, -5.0)])
def test_the_ends_are_taken_where_nothing_is_smaller_or_larger(monkeypatch, rate, end):
    monkeypatch.setattr(rate_control, "bisect", lambda *_, may_miss: calls.append(1) or end)
    known = SimpleNamespace(choose=lambda *_: "map", expected=lambda _: rate, rate=lambda _: rate)
    calls = []
    assert rate_control.quality_for(known, "lagrangian", None, 0.2) == end and len(calls) == 1


def test_mean_of_channels_is_rounded():
    image = np.array([[[0, 0, 1], [1, 1, 0], [255, 255, 255], [254, 255, 255], [10, 20, 60]]], np.uint8)
    assert mean_channel(image).tolist() == [[0, 1, 255, 255, 30]] and mean_channel(image).dtype == np.uint8
