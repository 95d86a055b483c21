"""A gallery that changes: exemplars added and removed, by several processes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vehicle_attributes.gallery.small_gallery import MODEL, angles, build, contents
from vehicle_attributes.gallery import Gallery, memory, storage
from vehicle_attributes.gallery.validation import unit


def test_what_is_added_answers_and_what_is_removed_does_not(tmp_path):
    path = tmp_path / "g"
    gallery = build(path, angles(0, 10), ["car", "van"], threshold=0.01)
    assert gallery.query(angles(200)).recognized.tolist() == ["unknown"]
    assert gallery.add(angles(200, 201, 198), "tram", ["t0", "t1", "t2"]) == 3
    assert gallery.query(angles(200.1)).recognized.tolist() == ["tram"]
    assert list(gallery.classes.items()) == [("car", 1), ("tram", 3), ("van", 1)] and len(gallery) == 5
    assert repr(gallery) == f"Gallery({str(path)!r}, 5 exemplars of 3 classes)"
    assert gallery.remove(path="t0") == 1
    assert gallery.query(angles(200), 2).paths.tolist() == [["t1", "t2"]]
    assert gallery.remove(label="car") == 1
    for opened in (gallery, Gallery(path, MODEL)):
        assert opened.classes == {"tram": 2, "van": 1}
        assert opened.query(angles(0), 9).paths.tolist() == [["/pictures/1.png", "t1", "t2"]]
    assert gallery.remove(label="tram") == 2 and gallery.remove(label="van") == 1
    with pytest.raises(ValueError, match="has no exemplars; add some first"):
        gallery.query(angles(0))
    with pytest.raises(ValueError, match="has no label 'van'; known are none"):
        gallery.remove(label="van")
    gallery.add(angles(5), "car", ["/pictures/0.png"])
    assert len(Gallery(path)) == 1


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_file_and_memory_stay_in_step(seed, tmp_path_factory):
    """Random additions and removals, compared with a list; blocks of two exemplars."""
    random, path, expected = np.random.default_rng(seed), tmp_path_factory.mktemp("g") / "g", []
    features = random.normal(size=(200, 3)).astype("float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_BLOCK_BYTES", 24)
        gallery, done = build(path, features[:0].reshape(0, 3)), 0
        for _ in range(12):
            if expected and random.random() < 0.4:
                name, file = expected[random.integers(len(expected))][:2]
                if random.random() < 0.5:
                    gallery.remove(label=name)
                    expected = [row for row in expected if row[0] != name]
                else:
                    gallery.remove(path=file)
                    expected = [row for row in expected if row[1] != file]
            else:
                rows = range(done, done := done + int(random.integers(1, 9)))
                added = [(f"label {random.integers(4)}", f"p{i}", i) for i in rows]
                gallery.add(features[rows], [row[0] for row in added], [row[1] for row in added])
                expected += added
            for opened in (gallery, Gallery(path)):
                np.testing.assert_array_equal(opened.features, unit(features[[row[2] for row in expected]]))
                if expected:
                    answers = opened.query(features[expected[-1][2]][np.newaxis], 1)
                    assert (answers.labels[0, 0], answers.paths[0, 0]) == expected[-1][:2]


def test_memory_grows_and_moves_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_ROWS", 3)
    features = np.random.default_rng(0).normal(size=(500, 4))
    gallery = build(tmp_path / "g", features[:10])
    for i in range(10, 500, 49):
        gallery.add(features[i : i + 49], f"at {i}", [f"p{j}" for j in range(i, i + 49)])
    np.testing.assert_array_equal(gallery.features, unit(features))
    gallery.remove(label="at 59")
    np.testing.assert_array_equal(gallery.features, unit(np.delete(features, np.arange(59, 108), axis=0)))
    assert contents(gallery) == contents(Gallery(tmp_path / "g"))


def test_changes_of_other_processes_are_seen(tmp_path):
    """Neither loses what the other wrote."""
    path = tmp_path / "g"
    first = build(path, angles(0))
    second = Gallery(path)
    second.add(angles(90), "van", ["v"])
    assert first.query(angles(80)).recognized.tolist() == ["van"]
    second.add(angles(180), "bus", ["b"])
    first.add(angles(270), "tram", ["t"])
    second.remove(label="car")
    first.calibrate(0.5, angles(91), "van")
    for gallery in (first, second, Gallery(path)):
        assert gallery.query(angles(90), 9).labels.tolist() == [["van", "bus", "tram"]]
        assert gallery.threshold == first.threshold and gallery.classes == {"bus": 1, "tram": 1, "van": 1}
    Gallery.build(path, angles(0), "a", ["p"], fingerprint="ab" * 32, attribute="make", overwrite=True)
    with pytest.raises(ValueError, match="was made with another network"):
        first.query(angles(0))
    path.unlink()
    with pytest.raises(ValueError, match=r"There is no gallery .*; build one first"):
        second.query(angles(0))


@pytest.mark.parametrize(
    "features, labels, paths, message",
    [
        ([[np.nan, 1]], "a", ["n"], "features of n must be finite and not all zero, got a largest one of nan; leave"),
        ([[1, 1], [np.inf, 1]], "a", ["n", "m"], "features of m must be finite and not all zero, got .* inf"),
        ([[0, 0]], "a", ["n"], "features of n must be finite and not all zero, got a largest one of 0"),
        ([[1, 2, 3]], "a", ["n"], r"must be of shape \(N, 2\), got \(1, 3\); pass one row for each image"),
        ([1, 2], "a", ["n", "m"], r"must be of shape \(N, 2\), got \(2,\)"),
        ([["x", "y"]], "a", ["n"], "must be numbers, got <U1"),
        ([[1, 2]], ["a", "b"], ["n"], "one label for each of 1 features, got 2"),
        ([[1, 2]], "", ["n"], "A label must be a text, and not empty or 'unknown'"),
        ([[1, 2]], "unknown", ["n"], "which rejected queries are called, got 'unknown'; choose another name"),
        ([[1, 2]], [3], ["n"], "A label must be a text, .* got 3"),
        ([[1, 2]], "a", ["n", "m"], "one path for each of 1 features, got 2"),
        ([[1, 2], [2, 3]], "a", ["n", "n"], "Each path must be there once, got n 2 times"),
        ([[1, 2]], "a", "n", "paths must be a list .* got 'n'; put it into a list"),
        ([[1, 2]], "a", ["/pictures/1.png"], "The image /pictures/1.png is in the gallery already"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_lost(tmp_path, features, labels, paths, message):
    gallery = build(tmp_path / "g", angles(0, 40), ["car", "van"], threshold=0.5)
    before, file = contents(gallery), (tmp_path / "g").read_bytes()
    with pytest.raises(ValueError, match=message):
        gallery.add(features, labels, paths)
    assert contents(gallery) == before == contents(Gallery(tmp_path / "g"))
    assert (tmp_path / "g").read_bytes() == file and len(list(tmp_path.iterdir())) == 1


def test_bad_calls_are_refused(tmp_path):
    path = tmp_path / "g"
    gallery = build(path, angles(*range(30)), [f"c{i:02}" for i in range(30)])
    with pytest.raises(ValueError, match=r"no label 'x'; known are 'c00', .*, 'c19' and 10 more\."):
        gallery.remove(label="x")
    with pytest.raises(ValueError, match="has no image x; pass its path as query shows it"):
        gallery.remove(path="x")
    with pytest.raises(ValueError, match="takes a label or a path, got label=None and path=None"):
        gallery.remove()
    with pytest.raises(ValueError, match="k must be one or more, got 0"):
        gallery.query(angles(0), 0)
    with pytest.raises(ValueError, match="The features of row 1 must be finite"):
        gallery.query([[1, 2], [np.nan, 1]])
    for limit in (-1, 2.5, float("nan")):
        with pytest.raises(ValueError, match=f"between 0 and 2, got {limit}"):
            build(tmp_path / "h", angles(0), threshold=limit)
    with pytest.raises(ValueError, match="exists; pass overwrite to replace it"):
        build(path, angles(0))
    with pytest.raises(ValueError, match="folder .* of the gallery does not exist"):
        build(tmp_path / "no" / "g", angles(0))
    assert len(Gallery(path, MODEL)) == 30 and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"made with another network \(5e5e5e5e5e5e…, this one is abababababab…\), so"):
        Gallery(path, "ab" * 32)
    with pytest.raises(ValueError, match="read-only"):
        gallery.features[0, 0] = 2
    gallery.add(angles(40), "new", ["new"])


def test_labels_of_pictures_are_those_of_the_exemplars_that_are_left(tmp_path):
    digests = [bytes([i]) * 32 for i in range(4)]
    gallery = build(tmp_path / "g", angles(0))
    gallery.add(angles(1, 2, 3, 4), ["a", "b", "a", "c"], ["1", "2", "3", "4"], digests)
    gallery.remove(path="2")
    assert gallery.labels_of({digests[1], digests[2], digests[3]}) == {digests[2]: "a", digests[3]: "c"}
    assert gallery.labels_of(set()) == {}
