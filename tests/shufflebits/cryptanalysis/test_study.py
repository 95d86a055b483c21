"""The study of all schemes: what it finds of each, its means, its table and its command line."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binom

from common.retrieval import Embeddings, save_embeddings
from shufflebits.cryptanalysis import (
    recover_key,
    recover_key_from_pairs,
    recover_key_per_element,
    study,
    study_ciphers,
    study_table,
)
from shufflebits.cryptanalysis.__main__ import main
from tests.shufflebits.cryptanalysis.sample_features import features

WORDS, SAMPLE = np.zeros((3, 4), np.uint32), np.ones((5, 4), np.float32)


@pytest.fixture(scope="module")
def both_sides():
    return features(500, 0, elements=256), features(200, 1, elements=256)


@pytest.fixture(scope="module")
def studied(both_sides):
    return study_ciphers(*both_sides, counts=(1, 60), num_keys=2, identities=np.arange(200) // 4)


def test_study_finds_shufflebits_broken_and_nothing_in_chacha20(studied):
    by_scheme = {}
    for record in studied:
        by_scheme.setdefault(record["scheme"], {})[record["vectors"]] = record
    assert by_scheme["one key"][60]["exponents"] == 1 and by_scheme["one key"][60]["mantissa_bits"] > 20
    assert by_scheme["one key, known plaintext"][1]["mantissa_bits"] == 23
    assert by_scheme["key per request"][1]["relinked"] > 0.9 and by_scheme["key per request"][1]["chance"] == 1 / 700
    assert by_scheme["key per element"][60]["relinked"] > 0.9
    both = by_scheme["key per element and request"][1]
    assert both["relinked"] is None and both["relinked_by_bit_counts"] == 1
    most = binom.ppf(1 - 1e-6, 200, 1 / 700) / 200  # 2 keys, 100 vectors each
    for record in by_scheme["ChaCha20"].values():
        assert record["exponents"] == 0 and record["mantissa_bits"] == 0 and record["numbers"] < 0.01
        assert record["relinked"] <= most and record["relinked_by_bit_counts"] <= most
        assert abs(record["cosine"]) < 0.05


def test_study_repeats_itself(both_sides):
    sample, users = (side[:30, :64] for side in both_sides)
    first, again, other = (study_ciphers(sample, users, counts=(2,), num_keys=1, seed=seed) for seed in (0, 0, 1))
    assert [{**record, "seconds": 0} for record in again] == [{**record, "seconds": 0} for record in first]
    assert [record["cosine"] for record in other] != [record["cosine"] for record in first]


SCHEMES = [
    "not encrypted", "one key", "one key, known plaintext", "key per request", "key per element",
    "key per element and request", "ChaCha20",
]  # fmt: skip


@pytest.mark.parametrize("identities", [None, np.arange(6)], ids=["nobody", "people"])
def test_records_are_means_over_keys(identities, monkeypatch):
    """Six users leave three vectors to steal. A scheme of many keys is run once, and some with one vector only."""
    made, runs = [], []

    class Trial:
        one_by_one = 2

        def __init__(self, *arguments):
            made.append(arguments)

        def run(self, scheme, count, number):
            runs.append((scheme, count, number))
            return {"bits": float(10 * count + number**2), "cosine": None, "relinked": None if number == 1 else number}

    monkeypatch.setattr(study, "Trial", Trial)
    sample, users = SAMPLE, np.ones((6, 4), np.float32)
    records = study_ciphers(sample, users, identities=identities, counts=(0, 1, 3, 4), num_keys=3, seed=7)
    assert made[0][0] is sample and made[0][1] is users and made[0][2] is identities and made[0][3] == 7
    once = {"not encrypted": 3, "one key, known plaintext": 3, "key per request": 2, "key per element and request": 8}
    expected, called = [], []
    for scheme in SCHEMES[identities is None :]:
        keys = {**once, "key per element": 4}.get(scheme, 3)
        numbers = range(1 if scheme.startswith("key per") else 3)
        for count in (1,) if scheme in once else (1, 3):
            called += [(scheme, count, number) for number in numbers]
            bits, relinked = (10 * count + 5 / 3, 1) if len(numbers) == 3 else (10 * count, 0)  # of 0, 1, 4 and of 0, 2
            record = {"scheme": scheme, "vectors": count, "keys": keys, "bits": pytest.approx(bits)}
            expected.append({**record, "cosine": None, "relinked": relinked})
    assert records == expected and runs == called


def test_default_counts_and_keys(monkeypatch):
    """Of 700 users 100 are held out; five keys, and seed 0."""
    runs, trial = [], SimpleNamespace(one_by_one=40, run=lambda *run: runs.append(run) or {"bits": 1.0})
    monkeypatch.setattr(study, "Trial", lambda *arguments: runs.append(arguments[3]) or trial)
    study_ciphers(SAMPLE, np.ones((700, 4), np.float32))
    assert runs[0] == 0
    assert [run[1:] for run in runs[1:] if run[0] == "one key"] == [
        (count, number) for count in (1, 3, 5, 10, 30, 100, 300) for number in range(5)
    ]


def test_table_by_hand():
    numbers = {
        "exponents": 0.5, "numbers": 0.98765, "mantissa_bits": 17.25, "bits": 25.06, "cosine": 0.99999949,
        "relinked": 0.12345, "relinked_by_bit_counts": None, "recognized": 1.0, "recognized_by_bit_counts": None,
        "seconds": 0.456, "chance": 0.1, "recognized_by_chance": None,
    }  # fmt: skip
    rows = [
        {"scheme": "one key", "vectors": 3, "keys": 5, **numbers},
        {"scheme": "other", "vectors": 1, "keys": 5, **dict.fromkeys(numbers), "relinked_by_bit_counts": 0.5},
    ]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in study_table(rows).splitlines()]
    assert cells[0] == [
        "scheme", "vectors", "sign and exponent right (% of keys)", "(% of numbers)", "mantissa bits of 23",
        "bits of 32",
        "cosine", "re-linked (%)", "by bit counts (%)", "recognized (%)", "seconds",
    ]  # fmt: skip
    assert cells[2] == ["one key", "3", "50", "98.77", "17.2", "25.1", "0.999999", "12.3", "–", "100.0", "0.46"]
    assert cells[3] == ["other", "1", *["–"] * 6, "50.0", "–", "–"]


def test_six_rows_say_what_matters():
    counts = {"not encrypted": (1,), "one key, known plaintext": (1,), "key per request": (1,)}
    counts |= {"key per element and request": (1,)}
    blank = dict.fromkeys(study._COLUMNS) | {"chance": 0.1}
    records = [
        {"scheme": scheme, "vectors": n, **blank} for scheme in SCHEMES for n in counts.get(scheme, (1, 3, 5, 10, 30))
    ]
    lines = [line.split("|")[1:3] for line in study_table(records, essential=True).splitlines()[2:]]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["not encrypted", "1"], ["one key", "1"], ["one key", "5"], ["key per request", "1"], ["key per element", "30"],
        ["key per element and request", "1"],
    ]  # fmt: skip


def test_command_line(tmp_path, monkeypatch, capsys):
    gallery = Embeddings(features(100, 0, elements=64), np.arange(100), np.zeros(100, int))
    query = Embeddings(features(40, 1, elements=64), np.arange(40) // 2, np.ones(40, int))
    save_embeddings(tmp_path / "features.npz", query, gallery)
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path / "features.npz"), "--num-keys", "1", "--counts", "2", "9"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| scheme") and lines[2].startswith("| not encrypted") and len(lines) == 2 + 10 + 2
    assert lines[-1] == "By chance, 0.71% are re-linked and 2.56% recognized."
    assert study_table([]).startswith("| scheme")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: recover_key(WORDS, SAMPLE.astype(float)), "The sample must be float32 .* got float64"),
        (lambda: recover_key(WORDS, SAMPLE[0]), r"shape \(M, D\), got float32 of \(4,\)"),
        (lambda: recover_key(WORDS, SAMPLE * np.float32("nan")), "The sample must be finite, got NaN"),
        (lambda: recover_key(WORDS.astype(int), SAMPLE), "Words must be uint32 .* got int64"),
        (lambda: recover_key(WORDS[:, :3], SAMPLE), "as many elements, got 3 and 4"),
        (lambda: recover_key(WORDS[:0], SAMPLE), "one vector of words or more, got none"),
        (lambda: recover_key_per_element(WORDS[0], SAMPLE), r"Words must be uint32 of shape \(N, D\)"),
        (lambda: recover_key_from_pairs(SAMPLE, WORDS), r"of one shape, got float32 \(5, 4\) and uint32 \(3, 4\)"),
        (lambda: recover_key_from_pairs(SAMPLE[:3], WORDS), "No key turns these features into these words"),
        (lambda: study_ciphers(SAMPLE, SAMPLE[:, :2]), "as many elements, got 4 and 2"),
        (lambda: study_ciphers(SAMPLE, SAMPLE[:1]), "two users' vectors"),
        (
            lambda: study_ciphers(SAMPLE, SAMPLE, identities=np.arange(3)),
            r"an identity for each of 5 users, got \(3,\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
