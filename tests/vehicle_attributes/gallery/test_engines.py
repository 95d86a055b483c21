"""Engines of others name exemplars; what is answered is measured exactly."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.vehicle_attributes.gallery.small_gallery import MODEL, angles
from vehicle_attributes.gallery import Gallery, cli
from vehicle_attributes.gallery.engines import faiss_index, milvus
from vehicle_attributes.gallery.maintenance import Push
from vehicle_attributes.gallery.search import HalfFeatures, nearest, reranked
from vehicle_attributes.gallery.storage import Head
from vehicle_attributes.gallery.validation import unit


def clusters(number, width=24, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(8, width))[np.arange(number) % 8] + random.normal(size=(number, width))


def fill(path, number=600, **options):
    labels = [f"class {i % 8}" for i in range(number)]
    paths = [f"/pictures/{i}.png" for i in range(number)]
    options = {"fingerprint": MODEL, "attribute": "make", **options}
    return Gallery.build(path, clusters(number), labels, paths, **options)


def test_what_an_index_names_is_ranked_exactly():
    """Named in any order, twice or not at all; a query that too few are named for is compared with all."""
    exemplars, queries = unit(clusters(50)), unit(clusters(3, seed=1))
    pool = HalfFeatures.of(exemplars)
    every = np.tile(np.random.default_rng(0).permutation(50), (3, 1))
    every[1, 10:] = -1
    every[1, :10] = 7
    for ours, expected in zip(reranked(queries, pool, every, 5), nearest(queries, exemplars, 5)):
        np.testing.assert_array_equal(ours, expected)
    few = np.array([[3, 9, 4, 9, -1]] * 3)
    indices, _ = reranked(queries, pool, few, 2)
    exact = ((queries[:, np.newaxis].astype(float) - exemplars[[3, 4, 9]]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(indices, np.array([3, 4, 9])[np.argsort(exact, axis=1)[:, :2]])


def test_faiss_indexes_name_the_nearest(tmp_path):
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: make install EXTRAS=faiss")
    gallery, queries = fill(tmp_path / "g", threshold=0.9), clusters(40, seed=1)
    expected = gallery.query(queries, 4)
    for kind, effort in (("ivf", 10**6), ("hnsw", 400), ("sq8", None)):
        assert faiss_index.build_index(gallery, kind) == tmp_path / f"g.{kind}"
        answers = gallery.query(queries, 4, index=faiss_index.FaissIndex(gallery, kind, effort))
        assert answers.paths.tolist() == expected.paths.tolist(), kind
        np.testing.assert_array_equal(answers.distances, expected.distances)
        assert answers.recognized.tolist() == expected.recognized.tolist()
    few = faiss_index.FaissIndex(gallery, "ivf", 1, per_neighbor=1)
    assert few.search(unit(queries), 4).shape == (40, 4)
    wrong = gallery.query(queries, 4, index=few)
    assert np.all(wrong.distances >= expected.distances) and np.any(wrong.distances > expected.distances)
    index = faiss_index.FaissIndex(gallery, "sq8")
    gallery.add(angles(1).repeat(12, axis=1), "new", ["n"])
    with pytest.raises(ValueError, match="has changed since its index was made; make it again"):
        gallery.query(queries, index=index)
    with pytest.raises(ValueError, match=r"has changed since .*g.sq8 was made; make it again with index"):
        faiss_index.FaissIndex(gallery, "sq8")
    (tmp_path / "g.ivf").write_bytes(b"no index")
    with pytest.raises(ValueError, match=r"g.ivf cannot be read as an index of the gallery; make it with index"):
        faiss_index.FaissIndex(gallery, "ivf")
    (tmp_path / "g.ivf.json").write_text("[]")
    with pytest.raises(ValueError, match=r"g.ivf cannot be read as an index of the gallery; make it with index"):
        faiss_index.FaissIndex(gallery, "ivf")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    for package in ("pymilvus", "milvus_lite"):
        pytest.importorskip(package, reason="Milvus is not installed: make install EXTRAS=milvus")
    return f"{tmp_path_factory.mktemp('milvus') / 'galleries.db'}"


def test_a_gallery_in_milvus_answers_as_one_in_a_file(place, tmp_path, monkeypatch, capsys):
    """The embedded file; a cluster has the same client."""
    gallery, queries = fill(tmp_path / "g", 300), clusters(12, seed=1)
    gallery.calibrate(0.9)
    for _ in range(2):  # a job that is started again changes nothing
        monkeypatch.setattr(sys, "argv", ["gallery", "push", str(tmp_path / "g"), f"{place}#types", "--index", "FLAT"])
        cli.main()
    assert capsys.readouterr().out.endswith("pushed 300 exemplars. It has 300 (make).\n")
    copy, expected = milvus.MilvusGallery(f"{place}#types", MODEL), gallery.query(queries, 3)
    assert copy.classes == gallery.classes and copy.threshold == gallery.threshold
    answers = copy.query(queries, 3)
    assert answers.paths.tolist() == expected.paths.tolist() and answers.labels.tolist() == expected.labels.tolist()
    np.testing.assert_array_equal(answers.distances, expected.distances)
    assert answers.recognized.tolist() == expected.recognized.tolist()
    for way in ("nearest", "votes"):
        assert copy.query(queries[:0], 3, by=way).distances.shape == gallery.query(queries[:0], 3).distances.shape
    votes = [each.query(queries, 3, by="votes", voters=9) for each in (gallery, copy)]
    assert votes[0].recognized.tolist() == votes[1].recognized.tolist()
    others = np.concatenate([clusters(40, seed=2), clusters(300)[:40]])  # of which a half are exemplars
    names = [f"class {i % 8}" for i in range(80)]
    assert copy.calibrate(0.9, others, names) == pytest.approx(gallery.calibrate(0.9, others, names))
    digests = [bytes([i] * 32) for i in range(3)]
    new = angles(0, 20, 40).repeat(12, axis=1)
    assert copy.add(new, 'a "trämš"', ["t0", "t1", "t2"], digests) == 3 and copy.head.is_stale
    assert copy.add(new[:1], 'a "trämš"', ["elsewhere"], digests[:1]) == 0  # the same picture
    assert copy.query(new, 1, by="votes", voters=1).paths.tolist() == [["t0"], ["t1"], ["t2"]]
    assert copy.remove(path="t1") == 1 and copy.remove(label='a "trämš"') == 2 and len(copy) == 300
    with pytest.raises(ValueError, match="#types has no image t1; list shows what it has"):
        copy.remove(path="t1")
    copy.close()
    with pytest.raises(ValueError, match="was made with another network"):
        milvus.MilvusGallery(f"{place}#types", "ab" * 32)
    with pytest.raises(ValueError, match="has make of 24 numbers, got make of 8; choose another collection"):
        milvus.MilvusGallery.open(f"{place}#types", Head("make", MODEL, 8))
    with pytest.raises(ValueError, match="There is no gallery .*#nothing; make one with push"):
        milvus.MilvusGallery(f"{place}#nothing")


def test_commands_take_a_gallery_in_milvus_as_a_file(place, tmp_path, monkeypatch, capsys):
    """They say the same of both, but for what a file alone has, and the order of exemplars."""
    gallery, there = fill(tmp_path / "g", 1500, threshold=0.5), f"{place}#commands"

    def output(*arguments):
        monkeypatch.setattr(sys, "argv", ["gallery", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    output("push", tmp_path / "g", there, "--index", "FLAT")
    facts = [json.loads(output("info", each, "--json")) for each in (gallery.path, there)]
    assert facts[0] | {"bytes": None} == facts[1] and facts[1]["exemplars"] == 1500
    assert output("list", gallery.path) == output("list", there)
    paths = [{row["image"] for row in json.loads(output("list", each, "--label", "class 3", "--json"))}
             for each in (gallery.path, there)]  # fmt: skip
    assert paths[0] == paths[1] == {f"/pictures/{i}.png" for i in range(3, 1500, 8)}
    tables = []
    for each in (gallery.path, there):
        output("export", each, tmp_path / "out.parquet", "--overwrite")
        tables.append(pd.read_parquet(tmp_path / "out.parquet").drop(columns="exemplar").sort_values("path"))
    for name in ("label", "path", "sha256"):
        assert tables[0][name].tolist() == tables[1][name].tolist()
    # Milvus has them after another division by a length that is 1 but for a rounding.
    np.testing.assert_allclose(*(np.stack(table["embedding"]) for table in tables), rtol=2e-7)
    assert "removed 188 exemplar(s). It has 1312 of 7 classes. Its threshold is stale" in output(
        "remove", there, "--label", "class 3"
    )
    with pytest.raises(ValueError, match="has no label 'class 3'; list shows what it has"):
        output("list", there, "--label", "class 3")
    with pytest.raises(ValueError, match="An index of faiss is one of a gallery file, and Milvus has its own; drop"):
        output("query", there, "a.png", "--training", tmp_path, "--index", "sq8")


def test_tables_that_are_not_of_one_network_are_not_pushed(tmp_path):
    """Nor are those of other programs; all before Milvus is called."""
    folder = tmp_path / "shards"
    folder.mkdir()
    rows = {"label": ["a"], "path": ["p"]}

    def refused(kind, head=None):
        vectors = pa.array([[1.0, 2.0]], kind)
        table = pa.table(rows | {"embedding": vectors}).replace_schema_metadata(head)
        pq.write_table(table, folder / "1.parquet")
        with pytest.raises(ValueError) as error:
            Push(folder, f"{tmp_path}/m.db").run()
        return str(error.value)

    pair = pa.list_(pa.float32(), 2)
    head = {"attribute": "make", "fingerprint": MODEL}
    write = pa.table(rows | {"embedding": pa.array([[3.0, 4.0]], pair)}).replace_schema_metadata(head)
    pq.write_table(write, folder / "0.parquet")
    assert "1.parquet has embeddings of another network, attribute or length than" in refused(
        pair, head | {"fingerprint": "ab" * 32}
    )
    assert "1.parquet must be lists of one length, got list<" in refused(pa.list_(pa.float32()), head)
    assert "1.parquet lacks attribute, fingerprint; expected a file of export or of embed" in refused(pair)
    (folder / "2.parquet").write_text("no table")
    (folder / "1.parquet").unlink()
    with pytest.raises(ValueError, match=r"2.parquet cannot be read as Parquet \(.*\); expected a file of"):
        Push(folder, f"{tmp_path}/m.db").run()


def test_a_cluster_that_does_not_answer_is_one_sentence(place):
    with pytest.raises(ValueError, match=r"^Milvus at http://127.0.0.1:1 refuses or does not answer .*; check"):
        milvus.MilvusGallery("http://127.0.0.1:1")


def test_engines_that_are_not_installed_are_named(tmp_path, monkeypatch):
    for name in ("faiss", "pymilvus"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match="faiss, which is not installed; make install EXTRAS=faiss"):
        faiss_index.build_index(fill(tmp_path / "g", 8), "sq8")
    with pytest.raises(ValueError, match="pymilvus, which is not installed; make install EXTRAS=milvus"):
        milvus.MilvusGallery("http://127.0.0.1:1")
