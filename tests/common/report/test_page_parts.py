"""Ranked lists and sliders: what they hold, byte by byte where pixels count."""

import base64
import json
import re

import cv2
import numpy as np
import pytest

from common.report.page_parts import Picture, RankedList, RankedLists, Slider, Thumbnails, failures_and_spread


def pixels(source):
    """(H, W, 3) uint8, RGB, of a `src` with its data."""
    data = np.frombuffer(base64.b64decode(source.partition("base64,")[2]), "uint8")
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def test_thumbnails_are_as_high_as_the_page_shows_them_and_made_once(tmp_path):
    image = np.zeros((40, 60, 3), "uint8")
    image[:, 30:] = 0, 0, 255  # OpenCV's blue is last
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    (tmp_path / "b.png").write_text("no image")
    thumbnails = Thumbnails()
    whole, right = thumbnails.of(str(tmp_path / "a.png")), thumbnails.of(str(tmp_path / "a.png"), (30, 0, 60, 40))
    assert whole.startswith("data:image/jpeg;base64,")
    assert pixels(whole).shape == (128, 192, 3) and pixels(right).shape == (128, 96, 3)
    np.testing.assert_allclose(pixels(right).mean(axis=(0, 1)), [0, 0, 255], atol=2)
    np.testing.assert_allclose(pixels(whole)[:, :80].mean(axis=(0, 1)), [0, 0, 0], atol=2)
    assert thumbnails.unread == []
    assert [thumbnails.of(str(tmp_path / "b.png")) for _ in range(2)] == ["", ""]
    assert thumbnails.unread == [str(tmp_path / "b.png")]
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((400, 1, 3), "uint8"))
    assert pixels(thumbnails.of(str(tmp_path / "c.png"))).shape == (128, 1, 3)
    (tmp_path / "a.png").unlink()
    assert thumbnails.of(str(tmp_path / "a.png")) is whole


def test_a_picture_says_in_words_and_in_color_what_it_is():
    near = Picture("data:,a", "<b>", "0.125", True).html(2)
    assert near == (
        '<figure class="right"><img alt="2 ✓ &lt;b&gt;" src="data:,a"><figcaption>2 ✓ &lt;b&gt;\n0.125</figcaption>'
        "</figure>"
    )
    assert Picture(None, "x").html(0) == '<figure class="query"><div></div><figcaption>query: x\n</figcaption></figure>'
    unread = Picture("", "x").html(1)
    assert '<figure class="wrong"><div>not readable</div><figcaption>1 ✗ x' in unread


def test_failures_are_the_lowest_scores_and_the_others_from_everywhere():
    failures, spread = failures_and_spread(np.array([0.5, 0.1, 0.9, 0.1]))
    assert (failures, spread) == ([1, 3, 0, 2], [0, 1, 2, 3])
    assert failures_and_spread(np.tile([1.0, 0.0], 20))[0][:22] == [*range(1, 40, 2), 0, 2]  # equal ones by number
    failures, spread = failures_and_spread(np.arange(59.0)[::-1])
    assert failures == list(range(58, 28, -1)) and spread == list(range(0, 60, 2))


def test_lists_are_there_once_and_both_orders_point_at_them():
    lists = {i: RankedList(f"<{i}>", Picture(None, "q"), [Picture(None, "n")] * 3) for i in (4, 7, 9)}
    text = RankedLists("heading", "a < b", lists, failures=[9, 4], spread=[4, 7, 9]).html()
    assert text.count("<article>") == 3 and text.count("<figure") == 3 * 4
    assert re.findall("<h3>(.*?)</h3>", text) == ["&lt;4&gt;", "&lt;7&gt;", "&lt;9&gt;"]
    options = re.findall(r'<option value="(.*?)">(.*?)</option>', text)
    assert [(json.loads(places), name) for places, name in options] == [
        ([2, 0], "failures first (2)"),
        ([0, 1, 2], "spread over the test set (3)"),
    ]
    assert "<p>a &lt; b</p>" in text


def test_a_slider_has_every_pixel_of_its_versions():
    rng = np.random.default_rng(0)
    versions = {name: rng.integers(0, 256, (20, 30, 3), dtype="uint8") for name in ("a", "<b>", "c")}
    text = Slider("heading", "caption", versions).html()
    images = re.findall(r'<img alt="(.*?)" src="(data:image/webp;base64,.*?)">', text)
    assert [name for name, _ in images] == ["a", "&lt;b&gt;", "c"]
    for (_, source), version in zip(images, versions.values()):
        np.testing.assert_array_equal(pixels(source), version)
    left, right = re.findall("<select.*?</select>", text)
    assert re.findall("<option( selected)?>(.*?)</option>", left)[0] == (" selected", "a")
    assert re.findall("<option( selected)?>(.*?)</option>", right)[1] == (" selected", "&lt;b&gt;")
    assert "max-width: 630px; aspect-ratio: 30/20" in text and 'class="views enlarged"' in text  # 21 times as large
    for width in (427, 600):  # less than one and a half times as large would blur
        assert 'class="views"' in Slider("", "", dict.fromkeys("ab", np.zeros((9, width, 3), "uint8"))).html()


def test_rows_of_images_become_one_image_each():
    rows = {"a": np.zeros((3, 2, 4, 1)), "b\nc": np.stack([np.full((2, 4, 1), value) for value in (-1, 0.5, 2)])}
    slider = Slider.of_rows("heading", "caption", rows)
    assert list(slider.versions) == ["a", "b c"]
    assert {image.shape for image in slider.versions.values()} == {(2, 12, 3)}
    assert slider.versions["b c"][1, ::4].tolist() == [[0] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("shapes", [[(4, 4, 3)], [(4, 4, 3), (4, 5, 3)]])
def test_versions_must_lie_on_each_other(shapes):
    versions = {str(i): np.zeros(shape, "uint8") for i, shape in enumerate(shapes)}
    with pytest.raises(ValueError, match=r"A slider needs two or more images of one shape, got \[\(4, 4, 3\)"):
        Slider("", "", versions)
