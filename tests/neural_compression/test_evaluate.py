"""Every number of an evaluation, its tables and its figures, by NumPy, for a codec that codes the means of blocks."""

import functools
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.interpolate import pchip_interpolate

from common.experiments.run_folder import open_run
from common.report import plots as common_plots
from neural_compression import evaluate
from neural_compression.codec import decode, encode
from neural_compression.config import PRESETS, Arguments
from neural_compression.encoder import block_versions
from neural_compression.evaluation import classical, compare, plots
from neural_compression.networks.codec_file import CODEC, load
from tests.neural_compression import mean_codec
from tests.neural_compression.mean_codec import LENGTHS, Expected, photograph

IMAGES = [photograph(61, 90, 1), photograph(64, 96, 2)]
ORACLES = [Expected(image) for image in IMAGES]
RATE = 0.06  # of the choices by quality
STEP = 30 / 4096  # of the bisection over log λ
STAGES = ("deblocking", "bits8", "bits8/expert", "bits16")


def flat_codec():
    """A classical codec that errs by the same in each sample: 18 - s at setting s, in a file of 26 + 16 s bytes."""

    def encode(image, setting):
        number = next(n for n, other in enumerate(IMAGES) if np.array_equal(image, other))
        return bytes([number]) * (26 + 16 * setting)

    def decode(file):
        return IMAGES[file[0]] + np.uint8(18 - (len(file) - 26) // 16)

    return classical.Codec("JPEG", range(1, 18), encode, decode)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The run, its record, and the figures that would be written, by name."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "photographs").mkdir()
    for number, image in enumerate(IMAGES):
        cv2.imwrite(str(folder / f"photographs/{number}.png"), image[..., ::-1])
    config = replace(
        PRESETS["smoke"][1],
        name="run",
        runs_dir=folder / "runs",
        test_dir=folder / "photographs",
        code_lengths=LENGTHS,
        closed_form=True,
        batch_size=129,
        scales=(0.1,),  # of the training photographs, and of none of these
        seeds=(0, 1),  # the second is not trained yet
    )
    run, figures = open_run(config, "neural_compression"), {}
    for place in STAGES:
        (run / "seed0" / place).mkdir(parents=True)
        (run / "seed0" / place / "log.csv").write_text(f"epoch,loss\n1,0.5\n2,{0.01 * len(place)}\n")
    mean_codec.save_codec(run / "seed0" / CODEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classical, "installed", lambda: ({"JPEG": flat_codec()}, []))
        patch.setattr(evaluate, "BASELINE_BPP", RATE)
        patch.setattr(evaluate, "load", functools.cache(load))
        for module in (plots, common_plots):
            patch.setattr(module, "save", lambda figure, path, *_: figures.update({path.name: figure}))
        (record,) = evaluate.evaluate(run)
        yield run, record, figures


def assert_point(point, expected, setting):
    assert point["setting"] == setting
    assert {name: point[name] for name in expected} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mode", ["publication", "context"])
@pytest.mark.parametrize("number", range(3))
def test_numbers_of_each_network_alone(evaluated, number, mode):
    """Those of files that decode to these images, deblocked."""
    run, record, _ = evaluated
    maps = [np.full(oracle.grid, number) for oracle in ORACLES]
    assert_point(record["networks"][str(LENGTHS[number])][mode], mean_codec.point(ORACLES, maps, mode), None)
    codec = evaluate.load(run / "seed0" / CODEC)
    data, encoded = encode(codec, IMAGES[0], network=number, mode=mode)
    assert len(data) == ORACLES[0].bytes(maps[0], mode)
    np.testing.assert_array_equal(decode(codec, data), ORACLES[0].reconstruction(maps[0]))
    np.testing.assert_array_equal(encoded.reconstruction, ORACLES[0].reconstruction(maps[0]))
    plain = replace(codec, deblocking=None)
    np.testing.assert_array_equal(decode(plain, data), ORACLES[0].reconstruction(maps[0], added=0))


def test_numbers_of_the_publications_selection(evaluated):
    """Each block with the shortest code that reaches a PSNR before deblocking, the highest at a rate."""
    point = evaluated[1]["by_quality"]

    def rate(psnr):
        bits = sum(8 * o.bytes(o.by_psnr(psnr), "publication") for o in ORACLES)
        return bits / sum(image[..., 0].size for image in IMAGES)

    choices = [oracle.by_psnr(point["setting"]) for oracle in ORACLES]
    assert len(set(np.concatenate(choices, None))) > 1
    assert_point(point, mean_codec.point(ORACLES, choices, "publication"), point["setting"])
    assert rate(point["setting"]) <= RATE < rate(point["setting"] + 100 / 4096)


def mean_rate(oracles, quality, bits):
    choices = [oracle.by_weight(np.exp(quality)) for oracle in oracles]
    return sum(bits(o, c) for o, c in zip(oracles, choices)) / sum(image[..., 0].size for image in IMAGES)


def assert_nearest_from_below(oracles, quality, target, bits):
    """Within a step of the bisection, files would be larger than the target."""
    assert mean_rate(oracles, quality, bits) <= target < mean_rate(oracles, quality - STEP, bits)


def file_bits(oracle, choice):
    return 8 * oracle.bytes(choice)


def test_numbers_at_the_publications_rate(evaluated):
    """One λ for all photographs, whose files have at most 0.148 bits per pixel and would have more with a lower λ."""
    point = evaluated[1]["at_rate"]
    choices = [oracle.by_weight(np.exp(point["setting"])) for oracle in ORACLES]
    assert len(set(np.concatenate(choices, None))) > 1
    assert_point(point, mean_codec.point(ORACLES, choices), point["setting"])
    assert_nearest_from_below(ORACLES, point["setting"], 0.148, file_bits)


def test_numbers_with_escape_blocks_are_those_of_files_that_decode(evaluated):
    """As one λ gives them, some blocks without a network; better than with networks alone."""
    run, record, _ = evaluated
    point, codec, bits, squares = record["escape"], evaluate.load(run / "seed0" / CODEC), 0, 0
    for session in (alone.with_escape() for alone in compare.sessions_for(codec, IMAGES)):
        data = session.file(session.choose("lagrangian", point["setting"]))
        bits += 8 * len(data)
        squares += np.square(decode(codec, data).astype(int) - session.image).sum()
    rate, samples = bits / sum(image[..., 0].size for image in IMAGES), sum(image.size for image in IMAGES)
    assert point["bits_per_pixel"] == pytest.approx(rate) and rate <= 0.148
    assert point["dataset_psnr"] == pytest.approx(10 * np.log10(255**2 * samples / squares))
    assert point["dataset_psnr"] > record["at_rate"]["dataset_psnr"]


def test_numbers_of_the_curve(evaluated):
    """Eight rates, evenly on a logarithmic axis from that of the shortest codes to that of the least error."""
    points, ends = evaluated[1]["curve"], [mean_rate(ORACLES, quality, Expected.bits) for quality in (25, -5)]
    targets = np.geomspace(*ends, 8)
    assert 5 <= len(points) <= 8
    for point in points:
        choices = [oracle.by_weight(np.exp(point["setting"])) for oracle in ORACLES]
        assert_point(point, mean_codec.point(ORACLES, choices), point["setting"])
    rates = np.array([mean_rate(ORACLES, point["setting"], Expected.bits) for point in points])
    assert (np.diff(rates) > 0).all() and [rates[0], rates[-1]] == ends
    for target in targets[1:-1]:
        reached = points[np.flatnonzero(rates <= target)[-1]]["setting"]
        assert_nearest_from_below(ORACLES, reached, target, Expected.bits)


def test_numbers_of_the_curve_with_escape_blocks(evaluated):
    """Eight λ, evenly on a logarithmic axis from e^10 to e^5; rate and quality fall with λ."""
    run, record, _ = evaluated
    points, codec = record["escape_curve"], evaluate.load(run / "seed0" / CODEC)
    np.testing.assert_allclose([point["setting"] for point in points], 10 - 5 * np.arange(8) / 7)
    rates, qualities = ([point[name] for point in points] for name in ("bits_per_pixel", "dataset_psnr"))
    assert qualities[0] < qualities[-1] - 1 and rates[0] < 0.9 * rates[-1]
    sessions = [alone.with_escape() for alone in compare.sessions_for(codec, IMAGES)]
    bits = sum(8 * len(session.file(session.choose("lagrangian", 5.0))) for session in sessions)
    assert rates[-1] == pytest.approx(bits / sum(image[..., 0].size for image in IMAGES))


def test_optimized_codes_are_measured_at_the_same_rate(evaluated, monkeypatch):
    """In place of an optimization, all bits become 1. It starts from the encoder's codes and knows λ and neighbors.

    The networks that λ chooses are optimized, of each image.
    """
    run, record, _ = evaluated
    calls = []

    def all_ones(codec, network, blocks, codes, rate_weight, left, up):
        calls.append((network, blocks, codes, {"rate_weight": rate_weight, "left": left, "up": up}))
        return np.ones(codes.shape, np.uint8)

    monkeypatch.setattr(block_versions, "search_codes", all_ones)
    (again,) = evaluate.evaluate(run, optimize="code")
    assert {**again, "optimized": None} == {**record, "optimized": None}
    point = again["optimized"]["code"]
    used = [np.unique(o.by_weight(np.exp(record["at_rate"]["setting"]))).tolist() for o in ORACLES]
    brightest = [
        Expected(
            o.image,
            np.stack(
                [np.full((*o.grid, 3), n - 1) if i in own else o.levels[i] for i, n in enumerate(mean_codec.LEVELS)]
            ),
        )
        for o, own in zip(ORACLES, used)
    ]
    choices = [oracle.by_weight(np.exp(point["setting"])) for oracle in brightest]
    assert_point(point, mean_codec.point(brightest, choices), point["setting"])
    assert point["bits_per_pixel"] <= 0.148
    assert [network for network, *_ in calls] == used[0] + used[1] and len({*used[0], *used[1]}) > 1
    of_calls = [oracle for oracle, own in zip(ORACLES, used) for _ in own]
    for (network, blocks, codes, options), oracle in zip(calls, of_calls):
        np.testing.assert_allclose(blocks.sum((1, 2)) * 255, oracle.sums.reshape(-1, 3), rtol=1e-4)
        own = np.array([[oracle.code(network, r, c) for c in range(3)] for r in range(2)])
        np.testing.assert_array_equal(np.rint(codes), own.reshape(6, -1))
        neighbors = np.zeros((2, *own.shape), int)
        neighbors[0, :, 1:], neighbors[1, 1:] = 2.0 * own[:, :-1] - 1, 2.0 * own[:-1] - 1
        np.testing.assert_array_equal([options.pop("left"), options.pop("up")], neighbors.reshape(2, 6, -1))
        weight = np.exp(record["at_rate"]["setting"]) / 255**2  # a bit's worth of 8-bit samples, for pixels up to 1
        assert options == {"rate_weight": pytest.approx(weight)}
    text = (run / "report.md").read_text()
    assert "| one λ, codes optimized " in text and "| ours, codes optimized " in text


REACHED = (0.06, 0.12, 0.148, 0.18, 0.25, 0.4)  # of the rates of `classical.curves`, by the codec that errs alike


def flat_point(bits_per_pixel):
    """dB of the classical codec, linear in the logarithm of the rate between its two settings around one."""
    rates = 2 * 8 * (26 + 16 * np.arange(1, 18)) / sum(image[..., 0].size for image in IMAGES)
    quality = 20 * np.log10(255 / (18 - np.arange(1, 18)))
    return np.interp(np.log(bits_per_pixel), np.log(rates), quality)


def rows_of(text, heading):
    table = text.split(heading)[1].split("\n\n")[0].strip()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_tables_have_these_numbers(evaluated):
    run, record, _ = evaluated
    evaluate.evaluate(run)
    text = (run / "report.md").read_text()
    assert text.startswith(
        "# run: width 2, 1 epochs, begun in closed form, (3, 45, 189) bits\n\n## Paper and this run (1 of 2 trainings)"
    )

    def cells(point):
        # Photographs are smaller than MS-SSIM takes.
        return [f"{point['dataset_psnr']:.2f}", f"{point['mean_psnr']:.2f}", "–", f"{point['bits_per_pixel']:.3f}"]

    expected = [
        [f"{length} bits for each block", mode, *cells(record["networks"][str(length)][mode])]
        for length in LENGTHS
        for mode in ("publication", "context")
    ]
    expected.append(
        [
            "the shortest that reaches a PSNR, the same for all blocks, at 0.151 or the lowest rate",
            "publication",
            *cells(record["by_quality"]),
        ]
    )
    expected.append(["one λ for all photographs", "context", *cells(record["at_rate"])])
    expected.append(["one λ for all photographs, with escape blocks", "context", *cells(record["escape"])])
    assert rows_of(text, "2 photographs\n") == expected
    theirs = [flat_point(rate) for rate in REACHED]
    ours = [[point[name] for point in record["curve"]] for name in ("dataset_psnr", "bits_per_pixel")]
    low, high = max(theirs[0], ours[0][0]), min(theirs[-1], ours[0][-1])
    grid = np.linspace(low, high, 20_001)
    curves = [pchip_interpolate(q, np.log(r), grid) for q, r in ((theirs, REACHED), ours)]
    more = 100 * np.expm1(np.mean(curves[1] - curves[0]))
    flat = ["JPEG", *[f"{flat_point(0.148):.2f}"] * 2, "–", "0.148", f"{more:.0f}"]
    escape = ["ours, with escape blocks", *cells(record["escape"]), "–"]
    rows = sorted([["ours", *cells(record["at_rate"]), "–"], escape, flat], key=lambda row: float(row[1]))
    assert rows_of(text, "At 0.148 bits per pixel\n") == rows


def test_figures_show_these_numbers(evaluated):
    run, record, figures = evaluated
    (axis,) = figures["loss.png"].axes
    lines = [(line.get_label(), *line.get_ydata()) for line in axis.lines]
    assert lines == [
        (f"{place}, seed0", 0.5, 0.01 * len(place)) for place in ("bits16", "bits8/expert", "bits8", "deblocking")
    ]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("pass", "loss")
    (axis,) = figures["rate_distortion.png"].axes
    *ours, theirs = axis.lines
    names = {"curve": "ours, networks alone", "escape_curve": "ours, with escape blocks"}
    for line, (curve, name) in zip(ours, names.items(), strict=True):
        points = sorted((point["bits_per_pixel"], point["dataset_psnr"]) for point in record[curve])
        assert line.get_label() == name and [tuple(place) for place in line.get_xydata()] == points
    assert theirs.get_label() == "JPEG"
    np.testing.assert_allclose(theirs.get_xdata(), REACHED)
    np.testing.assert_allclose(theirs.get_ydata(), [flat_point(rate) for rate in REACHED])
    choice = ORACLES[0].by_weight(np.exp(record["at_rate"]["setting"]))
    original, decoded, other = figures["crops.png"].axes
    box = np.s_[61 // 3 : 61, 90 // 3 : 90]
    np.testing.assert_array_equal(original.images[0].get_array(), IMAGES[0][box])
    np.testing.assert_array_equal(decoded.images[0].get_array(), ORACLES[0].reconstruction(choice)[box])
    point = mean_codec.point(ORACLES[:1], [choice])
    title = f"ours\n{point['bits_per_pixel']:.3f} bpp, {point['dataset_psnr']:.2f} dB"
    assert [axis.get_title() for axis in (original, decoded)] == ["original", title]
    # The largest of its files with at most our bits.
    setting = max(s for s in range(1, 18) if 8 * (26 + 16 * s) / (61 * 90) <= point["bits_per_pixel"])
    quality = 20 * np.log10(255 / (18 - setting))
    assert other.get_title() == f"JPEG\n{8 * (26 + 16 * setting) / (61 * 90):.3f} bpp, {quality:.2f} dB"
    np.testing.assert_array_equal(other.images[0].get_array(), IMAGES[0][box] + (18 - setting))
    labels = [text.get_text() for text in figures["networks.png"].legends[0].get_texts()]
    shares = [np.mean(choice == n) for n in range(3)]
    assert labels == [f"{length} bits: {share:.0%} of the blocks" for length, share in zip(LENGTHS, shares)]
    report = json.loads((run / "report.json").read_text())
    assert report["trials"] == [record] and list(report["classical"]) == ["JPEG"]


def test_the_page_of_a_run_in_a_browser(evaluated, browser):
    """The slider shows the photograph on its left and what we make of it on its right, then a classical codec's."""
    run, record, _ = evaluated
    evaluate.evaluate(run)
    assert browser.open_report(run) == 2 * 3  # no figure is written here
    ours = ORACLES[0].reconstruction(ORACLES[0].by_weight(np.exp(record["at_rate"]["setting"])))
    options = "[...document.querySelectorAll('.slider select.right option')].map(o => o.textContent.split(',')[0])"
    assert browser.value(options) == ["original", "ours", "JPEG"] * 2

    def columns():
        """The left and the right half of what is shown, at the size of the photograph."""
        image = browser.picture(".views")
        height, width = IMAGES[0].shape[:2]
        assert image.shape == (7 * height, 7 * width, 3)
        return image[3::7, 3::7][:, : width // 2 - 1], image[3::7, 3::7][:, width // 2 + 1 :]

    left, right = columns()
    middle = IMAGES[0].shape[1] // 2
    np.testing.assert_array_equal(left, IMAGES[0][:, : middle - 1])
    np.testing.assert_array_equal(right, ours[:, middle + 1 :])
    browser.value("(() => { const s = document.querySelector('.right'); s.selectedIndex = 2; s.onchange() })()")
    error = columns()[1].astype(int) - IMAGES[0][:, middle + 1 :]
    assert (error == error[0, 0, 0]).all() and error[0, 0, 0] > 0  # that codec errs by the same everywhere
    browser.press(".views input", "End", 35)
    np.testing.assert_array_equal(np.hstack([columns()[0], IMAGES[0][:, :0]]), IMAGES[0][:, : middle - 1])
    np.testing.assert_array_equal(columns()[1][:, :-1], IMAGES[0][:, middle + 1 : -1])  # below the handle is the rest


def test_a_comparison_has_the_numbers_of_an_evaluation(evaluated, tmp_path, monkeypatch):
    """Of a codec by itself; its report has the classical codecs as well, and shows the first photograph."""
    run, record, figures = evaluated
    monkeypatch.setattr(compare, "load", evaluate.load)
    (tmp_path / "new").mkdir()
    figures.pop("crops.png")
    compared = compare.compare(run / "seed0" / CODEC, IMAGES, tmp_path / "new", "off")
    np.testing.assert_array_equal(figures["crops.png"].axes[0].images[0].get_array(), IMAGES[0][61 // 3 :, 90 // 3 :])
    names = ("equal_rate", "equal_rate_escape", "at_rate", "escape", "curve", "escape_curve")
    assert compared == {name: record[name] for name in names}
    report = json.loads((tmp_path / "new/report.json").read_text())
    others = report.pop("classical"), report.pop("classical_equal_rate")
    assert report == compared and [list(other) for other in others] == [["JPEG"]] * 2
    text = (tmp_path / "new/report.md").read_text()
    assert text.startswith("# codec.npz on 2 photographs\n\n## At 0.148 bits per pixel\n")


def test_nothing_is_computed_twice_from_the_same_codec_and_code(evaluated, monkeypatch):
    run, record, _ = evaluated
    monkeypatch.setattr(evaluate, "sessions_for", None)
    assert evaluate.evaluate(run) == [record]
    calls = []
    monkeypatch.setattr(
        evaluate,
        "cached_json",
        lambda *given: calls.append(given[:3]) or record | {"encoder": {}, "encoder and escape": {}},
    )
    evaluate.evaluate_trial(None, None, None, run / "seed0", Arguments(optimize="encoder"))
    files, code = [run / "seed0" / CODEC], "neural_compression.evaluate"
    names = ("metrics.json", "optimized-encoder.json")
    assert calls == [(run / "seed0" / name, files, code) for name in names]
