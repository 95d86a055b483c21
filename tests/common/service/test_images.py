"""Images of a request: what is damaged or too large is refused before it costs anything, and work ends when it may."""

import cv2
import pytest

from common.service import images as module
from common.service.images import check_sizes, decode
from tests.shufflebits.service.tiny_server import IMAGES, JPEG, PNG, SIZE, encoded

DAMAGED = "Image {}, counted from 0, is no JPEG or PNG file, or not a whole one."


def test_every_truncated_image_is_refused():
    """Also where a whole thumbnail stands in front, whose end is no end of the image."""
    large = encoded(cv2.resize(IMAGES[0], (200, 200)), ".jpg")
    thumbnail = b"\xff\xe1" + (len(JPEG) + 2).to_bytes(2, "big") + JPEG
    for file in (PNG, large, large[:2] + thumbnail + large[2:]):
        check_sizes([file], 10**6)
        assert decode([file], SIZE).shape == (1, *SIZE, 3)
        for length in range(0, len(file), 1 + len(file) // 150):
            with pytest.raises(Exception, match="Image 1, counted from 0, is no JPEG or PNG file") as error:
                check_sizes([PNG, file[:length]], 10**6)
                decode([PNG, file[:length]], SIZE)
            assert error.value.status_code == 422


def test_scans_of_a_jpeg_are_limited(monkeypatch):
    """Each of a progressive image goes over all of its pixels: a hundred kilobytes can take minutes."""
    progressive = cv2.imencode(".jpg", IMAGES[0], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scans = progressive.count(b"\xff\xda")
    for limit in (scans, scans - 1):
        monkeypatch.setattr(module, "_MOST_SCANS", limit)
        if limit == scans:
            assert check_sizes([PNG, progressive], 10**6) == [128, 128]
        else:
            with pytest.raises(
                Exception, match=f"Image 1, counted from 0, has over {limit} scans; save it as"
            ) as error:
                check_sizes([PNG, progressive], 10**6)
            assert error.value.status_code == 413


def test_work_ends_between_two_images():
    calls = []

    def go_on():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode([PNG] * 9, SIZE, go_on)
    assert len(calls) == 3
