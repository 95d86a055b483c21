"""Jobs that embed pictures: shards, parts, kills, and damaged images."""

from pathlib import Path

import numpy as np
import pytest

from common.datasets.own_pictures import read_table
from common.experiments.config import EmbeddingArguments
from common.retrieval import load_embeddings
from common.tools import embedding
from common.tools.embedding import embed_pictures, shard_of
from tests.common.datasets.test_image_folder import picture, write_classes

NETWORK = {"attribute": "kind", "fingerprint": "ab"}


def features_of(rows):
    """A function of the file alone."""
    return np.array([[len(Path(p).read_bytes()), *Path(p).read_bytes()[45:49]] for p in rows["path"]], "float32")


def run(table, out, shard="1/1", embed=features_of, **options):
    return embed_pictures(table, embed, EmbeddingArguments(out=out, shard=shard, **options), **NETWORK)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "PART", 4)
    return read_table(write_classes(tmp_path / "set"))  # 30


def test_shards_hold_each_picture_once_and_are_read_together(pictures, tmp_path):
    counts = [run(pictures, tmp_path / "out", f"{i}/4") for i in (4, 1, 3)]
    assert counts == [7, 8, 7]
    with pytest.raises(ValueError, match="has not all of a job's embeddings: shard 2 of 4 lack; finish the job"):
        load_embeddings(tmp_path / "out")
    (tmp_path / "out/.host.1.shard.parquet").write_bytes(b"half of what another job writes")
    run(pictures, tmp_path / "out", "2/4")
    query, gallery = load_embeddings(tmp_path / "out")
    assert query is gallery and gallery.paths.tolist() == pictures["path"].tolist()
    assert gallery.identities.tolist() == pictures["label"].tolist()
    np.testing.assert_array_equal(gallery.features, features_of(pictures))
    (tmp_path / "out/shard-00003-of-00004-part-00001-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match="embeddings: part 1 of shard 3 lack"):
        load_embeddings(tmp_path / "out")


def test_a_job_that_was_stopped_goes_on(pictures, tmp_path, capsys):
    done = []

    def stop(rows):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(len(rows))
        return features_of(rows)

    with pytest.raises(KeyboardInterrupt):
        run(pictures, tmp_path / "out", embed=stop)
    assert "30 pictures of 3 classes, shard 1 of 1: 30, of which 0 are done" in capsys.readouterr().out
    assert run(pictures, tmp_path / "out") == 18
    assert "of which 12 are done" in capsys.readouterr().out
    run(pictures, tmp_path / "whole")
    for part in ("out", "whole"):
        np.testing.assert_array_equal(load_embeddings(tmp_path / part)[1].features, features_of(pictures))
    assert run(pictures, tmp_path / "out") == 0
    with pytest.raises(ValueError, match="has embeddings of another network, of other pictures, or of another number"):
        run(pictures.iloc[:-1], tmp_path / "out")
    with pytest.raises(ValueError, match="choose another --out"):
        run(pictures, tmp_path / "out", "1/2")


def test_damaged_pictures_are_named_first_or_listed(pictures, tmp_path):
    for path in pictures["path"][4:9]:  # the whole second part, and one of the third
        Path(path).write_bytes(picture("x")[:20])
    with pytest.raises(ValueError, match="^5 of 30 images cannot be read, .* or pass --skip-damaged"):
        run(pictures, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.warns(UserWarning, match="5 of 30"):
        assert run(pictures, tmp_path / "out", skip_damaged=True) == 25
    listed = (tmp_path / "out/shard-00001-of-00001-left_out.txt").read_text().splitlines()
    assert listed == pictures["path"][4:9].tolist()
    assert load_embeddings(tmp_path / "out")[1].paths.tolist() == pictures["path"].drop(range(4, 9)).tolist()


def test_query_and_gallery_of_a_split_and_cameras_are_those_of_the_table(pictures, tmp_path):
    splits = np.where(np.arange(30) % 3, "gallery", "query")
    run(pictures.assign(camera=[f"c{i % 2}" for i in range(30)], split=splits), tmp_path / "out")
    query, gallery = load_embeddings(tmp_path / "out")
    assert query.paths.tolist() == pictures["path"][::3].tolist() and len(gallery) == 20
    assert query.cameras.tolist() == [f"c{i % 2}" for i in range(0, 30, 3)]


@pytest.mark.parametrize(("text", "expected"), [("1/1", (1, 1)), ("3/12", (3, 12)), ("auto", (1, 1))])
def test_shard_by_hand(text, expected):
    assert shard_of(text, {}) == expected


@pytest.mark.parametrize(("first", "task", "expected"), [(0, 0, (1, 4)), (0, 3, (4, 4)), (5, 6, (2, 4))])
def test_shard_of_an_array_of_slurm(first, task, expected):
    names = {"ID": task, "MIN": first, "MAX": first + 3, "COUNT": 4}
    environment = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}
    assert shard_of("auto", environment) == expected
    with pytest.raises(ValueError, match=r"array goes from \d to \d with 2 jobs; give --array=1-2"):
        shard_of("auto", environment | {"SLURM_ARRAY_TASK_COUNT": "2"})


@pytest.mark.parametrize("text", ["0/8", "9/8", "2", "a/b", "1/0"])
def test_wrong_shards_are_named(text):
    with pytest.raises(ValueError, match="A shard is I/N with I from 1 to N, such as 2/8, got"):
        shard_of(text, {})
