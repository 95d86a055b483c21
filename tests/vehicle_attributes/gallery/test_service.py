"""A gallery over HTTP."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from common.datasets.own_pictures import read_table
from common.service.admission import Limits
from common.service.connection import serving_app
from tests.vehicle_attributes.gallery.test_cli import draw
from tests.vehicle_attributes.gallery.test_ingest import images, save_network
from vehicle_attributes import recognizer
from vehicle_attributes.gallery import Gallery
from vehicle_attributes.gallery.ingest import ingest, readable
from vehicle_attributes.gallery.service.command import Serve
from vehicle_attributes.gallery.service.server import create_app


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return recognizer.load(save_network(tmp_path_factory.mktemp("training")))


@pytest.fixture
def gallery(network, tmp_path):
    images(tmp_path / "images", 10)
    options = {"fingerprint": network.fingerprint, "attribute": "color"}
    gallery = Gallery.build(tmp_path / "g", np.empty((0, 3)), [], [], **options)
    ingest(gallery, network, *readable(read_table(tmp_path / "images"), False))
    gallery.calibrate(0.9)
    return gallery


@pytest.fixture
def url(gallery, network, tmp_path):
    limits = Limits(max_images=3)
    with serving_app(create_app(gallery, network, tmp_path / "uploads", limits), limits) as address:
        yield address


def send(url, paths, headers=None, **fields):
    files = [("images", (Path(path).name, Path(path).read_bytes())) for path in paths]
    return requests.post(url, files=files, data=fields, headers=headers, timeout=30)


def test_answers_are_those_of_the_gallery_and_it_grows(url, gallery, network, tmp_path):
    about = requests.get(f"{url}/gallery", timeout=30).json()
    assert about["classes"] == {"green": 10, "red": 10} and about["exemplars"] == 20
    (red,), blue = draw(tmp_path / "new", "red", 1, 50), draw(tmp_path / "new", "blue", 3, 60)
    answer = send(f"{url}/query", [red, blue[0]], k=4).json()
    expected = gallery.query(network.embed([red, blue[0]])["embedding"], 4)
    assert [image["label"] for image in answer["images"]] == ["red", "unknown"]
    for image, ids, distances in zip(answer["images"], expected.ids, expected.distances):
        assert [near["exemplar"] for near in image["nearest"]] == ids.tolist()
        np.testing.assert_allclose([near["distance"] for near in image["nearest"]], distances, atol=1e-6)
    assert [image["image"] for image in answer["images"]] == ["50.png", "60.png"]
    assert send(f"{url}/add", blue, label="blue").json() == {"added": 3, "already": 0, "exemplars": 23}
    assert send(f"{url}/add", blue[:1] * 2, label="blue").json() == {"added": 0, "already": 2, "exemplars": 23}
    refused = send(f"{url}/add", blue[1:2], label="red")
    assert refused.status_code == 422 and "61.png is an exemplar of 'blue'; remove it first" in refused.text
    opened = Gallery(tmp_path / "g")
    assert opened.classes["blue"] == 3 and not opened.head.is_stale
    stored = opened.paths[20]
    assert Path(stored).parent == tmp_path / "uploads" and Path(stored).read_bytes() == Path(blue[0]).read_bytes()
    assert send(f"{url}/query", blue[:1], k=1).json()["images"][0]["label"] == "blue"
    means = send(f"{url}/query", blue[:1], by="class_means", k=2).json()["images"][0]
    assert means["label"] == "blue" and [near["exemplar"] for near in means["nearest"]] == [-1, -1]


def test_classes_are_browsed(url, gallery, monkeypatch):
    listed = requests.get(f"{url}/exemplars", params={"label": "red"}, timeout=30).json()
    assert [one["exemplar"] for one in listed] == list(range(10, 20))
    assert requests.get(f"{url}/exemplars?label=red&start=8", timeout=30).json() == listed[8:]
    assert requests.get(f"{url}/exemplars?label=none", timeout=30).json() == []
    answer = requests.get(f"{url}/image?exemplar=13", timeout=30)
    shown = cv2.imdecode(np.frombuffer(answer.content, "uint8"), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(shown, cv2.imread(listed[3]["image"]), atol=60)
    assert answer.headers["content-type"] == "image/jpeg"
    for path, word in (("/", "<title>Gallery"), ("/page.js", "refresh"), ("/page.css", "#drop")):
        page = requests.get(url + path, timeout=30)
        assert word in page.text and "script-src 'self'" in page.headers["content-security-policy"]


def test_changes_of_other_processes_are_shown(url, gallery, tmp_path):
    """Exemplar 0 is removed elsewhere, by which the others move up; and a class is added."""
    before = [requests.get(f"{url}/image?exemplar={number}", timeout=30).content for number in (3, 4)]
    other = Gallery(tmp_path / "g")
    other.remove(path=other.paths[0])
    other.add(np.eye(3)[:1], "bus", ["b.png"])
    after = [requests.get(f"{url}/image?exemplar={number}", timeout=30) for number in (3, 4, 0)]
    assert [answer.content for answer in after[:2]] == before and before[0] != before[1]
    assert after[2].status_code == 404
    about = requests.get(f"{url}/gallery", timeout=30).json()
    assert about["classes"] == {"bus": 1, "green": 9, "red": 10} and about["exemplars"] == 20 and about["is_stale"]
    listed = requests.get(f"{url}/exemplars?label=green", timeout=30).json()
    assert [one["exemplar"] for one in listed] == list(range(1, 10))


def test_class_means_have_no_threshold(url, gallery, tmp_path):
    """Nothing is unknown by them, so none is given and none is stale."""
    (red,) = draw(tmp_path / "new", "red", 1, 50)
    gallery.remove(path=gallery.paths[0])
    for way, threshold, stale in (("nearest", gallery.threshold, True), ("class_means", None, False)):
        answer = send(f"{url}/query", [red], by=way).json()
        assert (answer["threshold"], answer["threshold_is_stale"]) == (threshold, stale)


def test_what_is_refused(url, gallery, network, tmp_path):
    (red,) = draw(tmp_path / "new", "red", 1, 50)
    (tmp_path / "text.png").write_text("no picture")
    black = tmp_path / "black.png"
    cv2.imwrite(str(black), np.zeros((4, 4, 3), "uint8"))
    for answer, status, sentence in (
        (send(f"{url}/query", [tmp_path / "text.png"]), 422, "Image 0, counted from 0, is no JPEG or PNG file, or not"),
        (send(f"{url}/query", [red] * 4), 400, "The form is none that the server understands, or has too"),
        (send(f"{url}/query", [red], k="many"), 422, "k must be from 1 to 100, and by one of nearest"),
        (send(f"{url}/query", [black]), 422, "The features of image 0 must be finite and not all zero"),
        (send(f"{url}/add", [red]), 422, "A label must be a text"),
        (send(f"{url}/add", [red], label="unknown"), 422, "A label must be a text"),
        (send(f"{url}/add", [red], {"Origin": "http://elsewhere"}, label="red"), 403, "Pages of other sites may not"),
        (requests.post(f"{url}/query", data=b"x", timeout=30), 415, "The body must be a form, multipart/form-data"),
        (requests.get(f"{url}/image?exemplar=99", timeout=30), 404, "There is no such exemplar"),
        (requests.get(f"{url}/image?exemplar=../x", timeout=30), 422, "exemplar must be a whole number"),
        (requests.get(f"{url}/other", timeout=30), 404, "There is no such page"),
        (requests.get(f"{url}/add", timeout=30), 405, "This page takes another method"),
    ):
        assert answer.status_code == status and answer.json()["detail"].startswith(sentence), answer.text
    assert requests.get(f"{url}/", headers={"Host": "evil.example"}, timeout=30).status_code == 400
    assert len(Gallery(tmp_path / "g")) == 20 and not (tmp_path / "uploads").exists()
    Path(gallery.paths[13]).unlink()
    assert "is not where it was" in requests.get(f"{url}/image?exemplar=13", timeout=30).json()["detail"]
    with serving_app(create_app(gallery, network, tmp_path / "uploads", read_only=True), Limits()) as reading:
        assert send(f"{reading}/add", [red], label="red").status_code == 404
        assert send(f"{reading}/query", [red]).status_code == 200
    with pytest.raises(ValueError, match="On 0.0.0.0 anybody could read and change the gallery; pass --insecure-http"):
        Serve(tmp_path / "g", tmp_path, host="0.0.0.0").run()


def test_the_page_in_a_browser(url, tmp_path, browser):
    (red,), blue = draw(tmp_path / "new", "red", 1, 50), draw(tmp_path / "new", "blue", 2, 60)
    browser.open(url)
    title = "document.getElementById('title').textContent"
    assert browser.wait_for(f"{title}.includes('exemplars') && {title}") == "Gallery: 20 exemplars, 2 of color"
    browser.choose("#files", [red])
    headings = "[...document.querySelectorAll('#answers h3')].map(h => h.textContent).join()"
    assert browser.wait_for(headings) == "50.png: red"
    pictures = "[...document.querySelectorAll('#answers img')]"
    assert browser.wait_for(f"{pictures}.every(i => i.complete && i.naturalWidth) && {pictures}.length") == 6
    browser.choose("#new", blue)
    browser.wait_for(
        "(document.getElementById('label').value = 'blue <b>') && document.getElementById('add').click() || 1"
    )
    assert browser.wait_for(f"{title}.startsWith('Gallery: 22') && {title}") == "Gallery: 22 exemplars, 3 of color"
    classes = "[...document.querySelectorAll('#classes button')]"
    assert browser.wait_for(f"{classes}.map(b => b.textContent).join()") == "blue <b> (2),green (10),red (10)"
    browser.wait_for(f"{classes}[0].click() || 1")
    shown = "[...document.querySelectorAll('#exemplars img')]"
    assert browser.wait_for(f"{shown}.every(i => i.complete && i.naturalWidth) && {shown}.length") == 2
    drop = (
        "(() => { const t = new DataTransfer(); t.items.add(document.getElementById('new').files[0]);"
        " document.getElementById('drop').dispatchEvent(new DragEvent('drop', { dataTransfer: t })); return 1 })()"
    )
    browser.wait_for(drop)
    assert browser.wait_for(f"{headings}.startsWith('60') && {headings}") == "60.png: blue <b>"
