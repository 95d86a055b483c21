"""Embeddings as other programs write them, and the command line on them."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.io

from common.retrieval import Embeddings, Protocol, load_embeddings, rerank, save_embeddings, score, search
from common.retrieval.__main__ import main
from tests.common.retrieval.test_analysis import people

SIDES = ("query", "gallery")
QUERY, GALLERY = (replace(part, features=np.round(part.features, 2)) for part in people(4, num_identities=12))


def named(features, identities, cameras, query="query_", gallery="gallery_"):
    """A dictionary of the arrays of both sides under the given names."""
    pairs = ((query, QUERY), (gallery, GALLERY))
    fields = ((features, "features"), (identities, "identities"), (cameras, "cameras"))
    return {side + name: getattr(part, field) for side, part in pairs for name, field in fields}


def table(part, split=None):
    """Rows of a table, the features in columns of their own."""
    columns = {"Identity": part.identities, "camera": [f"c{camera}" for camera in part.cameras]}
    columns |= {"path": [f"{i}.jpg" for i in range(len(part))]} | ({} if split is None else {"split": split})
    return pd.DataFrame(columns | {f"x{i}": column for i, column in enumerate(part.features.T)})


def lists(part):
    """Rows of a table, the features in one column."""
    return pd.DataFrame({"label": part.identities, "camid": part.cameras, "embedding": list(part.features)})


def write_npz(folder):
    np.savez(folder / "a.npz", **named("features", "identities", "cameras"))
    return folder / "a.npz"


def write_torchreid(folder):
    arrays = named("f", "_pids", "_camids", "q", "g")
    np.savez(
        folder / "a.npz", **{name: array.astype(float) if "ids" in name else array for name, array in arrays.items()}
    )
    return folder / "a.npz"


def write_npy(folder):
    for name, array in named("feats", "pids", "camids").items():
        np.save(folder / f"{name}.npy", array)
    return folder


def write_mat(folder):
    """layumi's: labels are rows (1, N)."""
    scipy.io.savemat(folder / "result.mat", named("f", "label", "cam"))
    assert scipy.io.loadmat(folder / "result.mat")["query_label"].shape == (1, len(QUERY))
    return folder / "result.mat"


def write_csv(folder):
    both = pd.concat([table(GALLERY, "Gallery"), table(QUERY, "query")])
    both.to_csv(folder / "a.csv", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    return folder / "a.csv"


def write_parquet(folder):
    pytest.importorskip("pyarrow")
    for side, part in zip(SIDES, (QUERY, GALLERY)):
        lists(part).to_parquet(folder / f"{side}.parquet")
    return folder


def write_shards(folder):
    pytest.importorskip("pyarrow")
    both = pd.concat([lists(GALLERY).assign(split="gallery"), lists(QUERY).assign(split="query")], ignore_index=True)
    for i, start in enumerate(range(0, len(both), 30)):
        both[start : start + 30].to_parquet(folder / f"part-{i:03d}.parquet")
    assert len(list(folder.iterdir())) > 2
    return folder


def write_torch(folder):
    torch = pytest.importorskip("torch")
    sides = {}
    for side, part in zip(SIDES, (QUERY, GALLERY)):
        features = torch.tensor(part.features, dtype=torch.float64, requires_grad=True)
        sides[side] = {"features": features, "pids": part.identities.tolist(), "camids": torch.tensor(part.cameras)}
    torch.save(sides, folder / "a.pt")
    return folder / "a.pt"


@pytest.mark.parametrize(
    "write",
    [write_npz, write_torchreid, write_npy, write_mat, write_csv, write_parquet, write_shards, write_torch],
    ids=lambda write: write.__name__,
)
def test_each_format_gives_the_same_embeddings(tmp_path, write):
    path = write(tmp_path)
    expected = score(QUERY, GALLERY)
    query, gallery = load_embeddings(path)
    for part, known in ((query, QUERY), (gallery, GALLERY)):
        np.testing.assert_allclose(part.features, known.features, atol=1e-6)
        np.testing.assert_array_equal(part.identities, known.identities)
    if write is write_csv:
        assert gallery.paths.tolist() == [str(tmp_path / f"{i}.jpg") for i in range(len(GALLERY))]
    np.testing.assert_allclose(score(query, gallery).average_precision, expected.average_precision, atol=1e-9)


def test_half_precision(tmp_path):
    """float16 of npz, and bfloat16 of PyTorch, which NumPy does not have: 1 + 1/128 is a number in both."""
    features = np.array([[1 + 1 / 128, 2]])
    np.savez(tmp_path / "a.npz", features=features.astype("float16"), labels=["a"])
    np.testing.assert_array_equal(load_embeddings(tmp_path / "a.npz")[0].features, features)
    torch = pytest.importorskip("torch")
    torch.save({"feats": torch.tensor(features, dtype=torch.bfloat16), "pids": [3]}, tmp_path / "a.pth")
    np.testing.assert_array_equal(load_embeddings(tmp_path / "a.pth")[0].features, features)


def test_one_set_is_query_and_gallery(tmp_path):
    table(GALLERY).drop(columns="camera").to_csv(tmp_path / "a.csv", index=False)
    query, gallery = load_embeddings(tmp_path / "a.csv")
    assert query is gallery and gallery.cameras is None


def test_saved_embeddings_come_back_whole(tmp_path):
    """Strings, 64-bit hashes and paths, which stay relative to the file, and no cameras."""
    query = Embeddings([[1.0, 2.0]], ["Ä"], None, ["x.jpg"])
    gallery = Embeddings([[1.0, 2.0]], np.array([2**63], "uint64"), ["left"])
    save_embeddings(tmp_path / "a.npz", query, gallery)
    query, gallery = load_embeddings(tmp_path / "a.npz")
    assert (query.identities, query.cameras, query.paths) == (["Ä"], None, [str(tmp_path / "x.jpg")])
    assert gallery.identities == [2**63] and gallery.identities.dtype == "uint64" and gallery.cameras == ["left"]


def test_rows_of_no_side_are_left_out_and_counted(tmp_path):
    write_csv(tmp_path)
    both = pd.read_csv(tmp_path / "a.csv")
    both.loc[[0, 1], "split"] = ["train", None]
    both.to_csv(tmp_path / "a.csv", index=False)
    with pytest.warns(UserWarning, match="2 of 72 rows of .*a.csv are neither query nor gallery and are left out"):
        query, gallery = load_embeddings(tmp_path / "a.csv")
    assert len(query) == len(QUERY) and len(gallery) == len(GALLERY) - 2


def archive(**arrays):
    return lambda path: np.savez(path, **arrays)


ONE = {"features": np.ones((2, 3)), "labels": [1, 2]}


@pytest.mark.parametrize(
    ("file", "write", "message"),
    [
        ("a.npz", archive(**ONE, label=[1, 2]), "a.npz has several arrays of identities: labels, label; leave one of"),
        ("a.npz", archive(labels=[1]), "a.npz lacks features; it has labels[.]$"),
        ("a.npz", archive(qf=np.ones((1, 2)), q_pids=[1], gf=np.ones((1, 2)), g_pids=[0.5]),
         "a.npz, gallery: identities must be strings or whole .* got 0.5 in row 0"),
        ("a.npz", archive(features=np.ones((2, 3)), labels=[[1, 2, 3]]), "a.npz: identities must have one entry"),
        ("a.pkl", lambda path: path.write_bytes(b"x"), "a.pkl must end in one of .npz, .csv, .*, or be a folder"),
        ("a.mat", lambda path: path.write_bytes(b"x" * 200), "a.mat is no MATLAB file of arrays; save it anew[.]$"),
        ("a.csv", lambda path: path.write_text("a,b\n1\n1,2,3\n"), "a.csv cannot be read as a table with names"),
        ("a.csv", lambda path: path.write_text("label,x\n"), "a.csv has no rows; expected one per image"),
        ("a.csv", lambda path: path.write_text("label,x,color\n1,2,red\n"),
         "a.csv has columns that are neither known nor numbers: color; leave them out, or name"),
        ("a.csv", lambda path: path.write_text("label,x,split\n1,2,query\n"), "a.csv has no gallery in its column"),
        ("a", lambda path: path.mkdir(), "The folder .*a has no npy, csv or Parquet files; expected"),
        ("a", lambda path: (path.mkdir(), (path / "f.npy").write_text("x")), "f.npy is no npy file of plain numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, file, write, message):
    write(tmp_path / file)
    with pytest.raises(ValueError, match=message):
        load_embeddings(tmp_path / file)


def test_pickles_that_may_run_code_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"feats": re.compile("a")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="a.pt is no PyTorch file of tensors, numbers and strings alone"):
        load_embeddings(tmp_path / "a.pt")
    torch.save([1], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="a.pt holds a list; expected a dictionary of tensors"):
        load_embeddings(tmp_path / "a.pt")


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["retrieval", *map(str, arguments)])
    main()
    return capsys.readouterr().out


def test_command_writes_numbers_for_programs(tmp_path, monkeypatch, capsys):
    """JSON has what `score` says under the same protocol; the csv file has a row for each query, valid or not."""
    path = write_npz(tmp_path)
    out = run(monkeypatch, capsys, path, "--json", "--ranks", 1, 3, "--per-query", tmp_path / "each.csv")
    numbers, scores = json.loads(out), score(QUERY, GALLERY, ranks=(1, 3))
    means = {
        "mAP": scores.mean_average_precision, "rank-1": scores.cmc[1], "rank-3": scores.cmc[3],
        "mINP": scores.mean_inverse_negative_penalty, "R-precision": scores.mean_r_precision,
        "MAP@R": scores.mean_average_precision_at_r,
    }  # fmt: skip
    values = {name: value["value"] for name, value in numbers["scores"].items()}
    assert values.pop("mAP, trapezoid rule") < means["mAP"] and values == pytest.approx(means, abs=1e-12)
    assert numbers["verification"]["TPR at FPR 0.0001"] is None  # 649 pairs of different identities at most
    each = pd.read_csv(tmp_path / "each.csv")
    assert each["query"].tolist() == list(range(len(QUERY))) and each["identity"].tolist() == QUERY.identities.tolist()
    valid = each[each["matches"] > 0]
    assert valid.index.tolist() == scores.valid_queries.tolist() and each["AP"].count() == len(valid)
    np.testing.assert_allclose(valid["AP"], scores.average_precision, atol=1e-12)
    np.testing.assert_allclose(valid["INP"], scores.inverse_negative_penalty, atol=1e-12)


def test_command_prints_dashes_for_what_one_identity_and_one_pair_cannot_tell(tmp_path, monkeypatch, capsys):
    """One identity has no interval, and one pair of each kind no rate of a hundredth."""
    save_embeddings(tmp_path / "a.npz", Embeddings([[1.0, 0.0]], [1]), Embeddings(np.eye(2), [1, 2]))
    out = run(monkeypatch, capsys, tmp_path / "a.npz", "--cameras", "none")
    rows = {
        cells[1].strip(): [c.strip() for c in cells[2:5]] for cells in (x.split("|") for x in out.splitlines()[2:13])
    }
    assert rows["mAP"] == rows["MAP@R"] == ["100.00", "–", "–"] and rows["TPR at FPR 0.01"] == ["–"] * 3
    assert "A dash: too few pairs or identities" in out


def value_of(monkeypatch, capsys, *arguments):
    return json.loads(run(monkeypatch, capsys, *arguments, "--json"))["scores"]["mAP"]["value"]


def test_switches_of_the_command_are_the_protocols(tmp_path, monkeypatch, capsys):
    path = write_npz(tmp_path)
    small = ("--rerank", "--k1", 6, "--k2", 2)
    for switches, protocol in (
        (["--cameras", "none"], Protocol(same_camera=True)),
        (["--no-drop-junk"], Protocol(junk=None)),
        (["--metric", "euclidean", "--distractors", 3, 5], Protocol("euclidean", distractors=(3, 5))),
    ):
        for reranked in ((), small):
            distances = rerank(QUERY, GALLERY, k1=6, k2=2, protocol=protocol) if reranked else None
            expected = score(QUERY, GALLERY, protocol=protocol, distances=distances).mean_average_precision
            value = value_of(monkeypatch, capsys, path, *switches, *reranked)
            assert value == pytest.approx(expected, abs=1e-12)
    save_embeddings(tmp_path / "b.npz", replace(QUERY, cameras=None), GALLERY)
    with pytest.raises(ValueError, match="The query has no cameras, .* on the command line --cameras none"):
        run(monkeypatch, capsys, tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", features=GALLERY.features, labels=GALLERY.identities)
    protocol = Protocol(same_camera=True, leave_one_out=True)
    expected = score(GALLERY, GALLERY, protocol=protocol).mean_average_precision
    assert value_of(monkeypatch, capsys, tmp_path / "c.npz", "--cameras", "none") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("reranked", [False, True])
def test_report_is_one_file_with_ranked_lists(tmp_path, monkeypatch, capsys, reranked):
    """The first list is that of the worst query; its marks are those of the true ranking; pictures are in the file."""
    pictures = []
    for side, part in zip(SIDES, (QUERY, GALLERY)):
        names = [f"{side} <{i}>.png" for i in range(len(part))]
        for i, name in enumerate(names):
            cv2.imwrite(str(tmp_path / name), np.full((40, 20, 3), 3 * i, "uint8"))
        pictures.append(replace(part, paths=names))
    (tmp_path / "gallery <0>.png").write_bytes(b"no image")
    save_embeddings(tmp_path / "a.npz", *pictures)
    options = ("--rerank", "--k1", 6, "--k2", 2) if reranked else ()
    run(monkeypatch, capsys, tmp_path / "a.npz", "--report", tmp_path / "report.html", *options)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "query <0>" not in text and not re.search("https?:", text)
    distances = rerank(QUERY, GALLERY, k1=6, k2=2) if reranked else None
    scores = score(QUERY, GALLERY, distances=distances)
    if reranked:
        distances = rerank(QUERY, GALLERY, k1=6, k2=2)
    worst = scores.valid_queries[np.argmin(scores.average_precision)]
    lists = text.split("<article>")[1:]
    (place, *_), spread = (json.loads(order) for order in re.findall(r'<option value="(\[.*?\])">', text))
    assert lists[place].startswith(
        f"<h3>Query {worst}, identity {QUERY.identities[worst]}, query &lt;{worst}&gt;.png: AP"
    )
    neighbors = search(QUERY, GALLERY, 10, distances=distances)
    nearest = neighbors.indices[worst]
    marks = [identity == QUERY.identities[worst] for identity in GALLERY.identities[nearest]]
    shown = re.findall(r'<figure class="(\w+)">', lists[place])
    assert shown == ["query", *("right" if mark else "wrong" for mark in marks)] and False in marks
    rows = zip(nearest, marks, neighbors.distances[worst])
    expected = [
        f"{rank} {'✓' if mark else '✗'} {GALLERY.identities[j]}\n{distance:.3f}\ncamera {GALLERY.cameras[j]}"
        for rank, (j, mark, distance) in enumerate(rows, 1)
    ]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", lists[place], re.DOTALL)[1:] == expected
    assert len(lists) == len(scores.valid_queries) == len(spread) and text.count("<figure") == len(lists) * 11
    assert text.count("data:image/jpeg;base64,") + text.count("not readable") == len(lists) * 11
    assert "1 image(s) could not be read, such as" in text and f"<td>{100 * scores.cmc[1]:.2f}</td>" in text
