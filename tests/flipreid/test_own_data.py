"""A folder of pictures to embeddings: trained, evaluated, embedded and scored."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import tyro

from common.retrieval import Protocol, load_embeddings, score
from flipreid import embed
from flipreid.config import PRESETS, EmbedArguments
from flipreid.evaluate import evaluate
from flipreid.train import train
from tests.helpers import run_snippet


def draw(folder, classes=8, count=6):
    """Pictures of about one color for each class, some in deeper folders."""
    random = np.random.default_rng(0)
    for name in range(classes):
        color = random.integers(0, 256, 3)
        for i in range(count):
            place = folder / f"class {name}" / ("deeper" if i % 2 else "")
            place.mkdir(parents=True, exist_ok=True)
            picture = np.clip(color + random.normal(0, 20, (40, 36, 3)), 0, 255).astype("uint8")
            cv2.imwrite(str(place / f"{i}.png"), picture)
    return folder


def test_own_pictures_from_a_folder_to_scores(tmp_path, capsys):
    folder = draw(tmp_path / "pictures")
    small = {"backbone": "small_resnet", "weights": "none", "image_size": (32, 32), "identities_per_batch": 4}
    short = {"frozen_epochs": 0, "epochs": 1, "steps_per_epoch": 3, "evaluate_every": 1, "warmup_epochs": 0}
    config = replace(PRESETS["own_data"][1], **small, **short, drop_epochs=(), data_dir=folder, name="own")
    run = train(replace(config, runs_dir=tmp_path / "runs"))
    (record,) = evaluate(run)
    assert "own, 36 images of 6 identities, 4 queries, 8 in the gallery" in capsys.readouterr().out
    assert 0 < record["double_mAP"] <= 1 and (run / "report.md").is_file()
    for arguments in ([str(folder)], []):
        out = tmp_path / f"out{len(arguments)}"
        embed.main(tyro.cli(EmbedArguments, args=[*arguments, "--out", str(out), "--run", str(run)]))
    assert "embedded 48 pictures" in capsys.readouterr().out
    images, same = load_embeddings(tmp_path / "out1")
    assert images is same and sorted(set(images.identities)) == [f"class {i}" for i in range(8)] and len(images) == 48
    query, gallery = load_embeddings(tmp_path / "out0")  # the test images, with their split
    scores = score(query, gallery, protocol=Protocol(same_camera=True))
    assert abs(scores.mean_average_precision - record["double_mAP"]) < 1e-5
    rows = {path: row for row, path in enumerate(images.paths)}
    again = images.features[[rows[path] for path in query.paths]]
    np.testing.assert_allclose(again, query.features, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:1 of 48 images cannot be read:UserWarning")
def test_the_page_reads_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = sorted(draw(tmp_path / "pictures").rglob("*.png"))
    paths[0].write_bytes(b"")
    lines = [f"{path.relative_to(tmp_path)},{path.relative_to(tmp_path).parts[1]}" for path in paths]
    (tmp_path / "pictures.csv").write_text("\n".join(["path,label", *lines]))
    skipping = {"held_out=2)": "held_out=2, skip_damaged=True)"}
    names = run_snippet("docs/own_data.md", 0, skipping)
    assert names["shown"] == [(47, 36, 3, 8)]  # of five and six pictures, one and two are queries
