import bz2
import gzip
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.datasets import load_digits

from common.datasets import digits

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 28, 28), dtype="uint8")
LABELS = np.arange(12, dtype="uint8") % 10


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    for name, images, labels in (("train", IMAGES[:8], LABELS[:8]), ("t10k", IMAGES[8:], LABELS[8:])):
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


def check_mnist(data):
    np.testing.assert_array_equal(data.images[..., 0], IMAGES / np.float32(255))
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.images.dtype == "float32" and data.labels.dtype == "int64"
    assert data.train_images.shape == (8, 28, 28, 1) and data.test_images.shape == (4, 28, 28, 1)


def test_mnist_from_idx(mnist):
    check_mnist(digits.read("mnist", mnist))


@pytest.mark.parametrize("part", ["train-images", "t10k-images", "train-labels", "t10k-labels"])
def test_the_file_whose_content_is_wrong_is_named(mnist, part):
    """Images of an axis too few, and a label too few."""
    (path,) = mnist.glob(f"{part}*")
    path.write_bytes((lambda content: gzip.compress(content) if path.suffix else content)(idx(LABELS[:3])))
    with pytest.raises(ValueError, match=f"{path.name} must hold"):
        digits.read("mnist", mnist)


def test_mnist_from_npz(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=IMAGES[:8], y_train=LABELS[:8], x_test=IMAGES[8:], y_test=LABELS[8:])
    check_mnist(digits.read("mnist", tmp_path))


def usps_values():
    """(N, 256) in [-1, 1] with the three decimals of the text form, and labels."""
    return np.round(RANDOM.uniform(-1, 1, (6, 256)), 3).astype("float32"), np.array([6, 5, 4, 7, 0, 9])


def write_usps_h5(root, values, labels):
    with h5py.File(root / "usps.h5", "w") as file:
        for name, part in (("train", slice(4)), ("test", slice(4, 6))):
            file[f"{name}/data"], file[f"{name}/target"] = (values[part] + 1) / 2, labels[part]


def write_usps_zip(root, values, labels):
    for name, part in (("train", slice(4)), ("test", slice(4, 6))):
        rows = [
            " ".join([f"{label:.4f}", *(f"{value:.3f}" for value in row)])
            for label, row in zip(labels[part], values[part])
        ]
        (root / f"zip.{name}.gz").write_bytes(gzip.compress("\n".join(rows).encode()))


def write_usps_libsvm(root, values, labels):
    for name, part in (("usps.bz2", slice(4)), ("usps.t.bz2", slice(4, 6))):
        rows = [
            " ".join([str(label + 1), *(f"{i}:{value:.3f}" for i, value in enumerate(row, 1) if value)])
            for label, row in zip(labels[part], values[part])
        ]
        (root / name).write_bytes(bz2.compress("\n".join(rows).encode()))


@pytest.mark.parametrize("write", [write_usps_h5, write_usps_zip, write_usps_libsvm])
def test_usps_in_three_formats(tmp_path, write):
    values, labels = usps_values()
    write(tmp_path, values, labels)
    data = digits.read("usps", tmp_path)
    np.testing.assert_allclose(data.images.reshape(6, 256), (values + 1) / 2, atol=1e-6)
    np.testing.assert_array_equal(data.labels, labels)
    assert data.train_images.shape == (4, 16, 16, 1) and data.test_images.shape == (2, 16, 16, 1)


def test_embedded_digits():
    data = digits.read("digits", None)
    assert data.train_images.shape == (1437, 8, 8, 1) and data.test_images.shape == (360, 8, 8, 1)
    assert data.images.min() == 0 and data.images.max() == 1
    bunch = load_digits()  # the first images are the training split, 16 is white
    np.testing.assert_array_equal(data.train_images[..., 0], bunch.images[:1437] / np.float32(16))
    np.testing.assert_array_equal(data.test_images[..., 0], bunch.images[1437:] / np.float32(16))
    np.testing.assert_array_equal(data.test_labels, bunch.target[1437:])
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_embedded_part_of_mnist():
    data = digits.read("mnist5000", None)
    assert data.train_images.shape == (4000, 28, 28, 1) and data.test_images.shape == (1000, 28, 28, 1)
    assert np.bincount(data.train_labels).tolist() == [400] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10
    assert len(np.unique(data.images.reshape(5000, -1), axis=0)) == 5000


def damage(name, content):
    def change(root):
        path = root / name
        path.write_bytes(content(path.read_bytes()))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root), "The data folder .* does not exist. Check --data-dir"),
        (lambda root: os.remove(root / "t10k-images-idx3-ubyte"), "has no t10k-images-idx3-ubyte or .*gz"),
        (damage("train-images-idx3-ubyte", lambda b: b[:-1]), "header asks for 6288 bytes, it has 6287"),
        (damage("train-images-idx3-ubyte", lambda b: b + b"x"), "truncated or has trailing bytes"),
        (damage("train-images-idx3-ubyte", lambda b: b[:6]), "truncated or has trailing bytes"),
        (damage("train-images-idx3-ubyte", lambda b: b"<html>"), "expected the magic number .* got 3c68746d"),
        (damage("train-images-idx3-ubyte", lambda b: b""), "got an empty file"),
        (damage("t10k-labels-idx1-ubyte.gz", lambda b: b[:-9]), "t10k-labels.* is probably an incomplete download"),
        (damage("t10k-labels-idx1-ubyte.gz", lambda b: gzip.compress(idx(LABELS[:3]))), "must hold 4 labels"),
        (
            damage("t10k-labels-idx1-ubyte.gz", lambda b: gzip.compress(idx(LABELS[:4] + 7))),
            "labels from 0 to 9, got 10",
        ),
        (damage("train-images-idx3-ubyte", lambda b: idx(LABELS)), "must hold images"),
        (lambda root: (root / "mnist.npz").write_bytes(b"PK\3\4half"), "mnist.npz cannot be read"),
        (lambda root: np.savez(root / "mnist.npz", x_train=IMAGES), "y_train"),
    ],
)
def test_wrong_mnist_files_are_named(mnist, change, message):
    change(mnist)
    with pytest.raises(ValueError, match=message):
        digits.read("mnist", mnist)


def test_wrong_usps_files_are_named(tmp_path):
    values, labels = usps_values()
    with pytest.raises(ValueError, match="has no zip.train.gz or zip.train"):
        digits.read("usps", tmp_path)
    write_usps_h5(tmp_path, values * 2, labels)
    with pytest.raises(ValueError, match="pixel values from .* expected 0 to 1"):
        digits.read("usps", tmp_path)
    write_usps_h5(tmp_path, np.full_like(values, np.nan), labels)
    with pytest.raises(ValueError, match="pixel values from nan to nan"):
        digits.read("usps", tmp_path)
    write_usps_h5(tmp_path, values[:, :100], labels)
    with pytest.raises(ValueError, match="rows of 256 pixels, got an array of \\(4, 100\\)"):
        digits.read("usps", tmp_path)
    path = tmp_path / "usps.h5"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="usps.h5 cannot be read and is probably an incomplete download"):
        digits.read("usps", tmp_path)


def test_unknown_data_set_and_missing_folder():
    names = r"\['digits', 'mnist5000', 'mnist', 'usps'\]"
    with pytest.raises(ValueError, match=f"Unknown data set 'svhn'; expected one of {names}"):
        digits.read("svhn", None)
    with pytest.raises(ValueError, match="'usps' is read from a folder: pass --data-dir"):
        digits.read("usps", None)


@pytest.mark.real_data
@pytest.mark.skipif("IMAGE_EMBEDDINGS_DATA" not in os.environ, reason="IMAGE_EMBEDDINGS_DATA is not set")
def test_complete_sets():
    root = Path(os.environ["IMAGE_EMBEDDINGS_DATA"])
    mnist = digits.read("mnist", root / "mnist")
    assert (len(mnist.train_images), len(mnist.test_images)) == (60000, 10000)
    assert np.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    usps = digits.read("usps", root / "usps")
    assert np.bincount(usps.train_labels).tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert np.bincount(usps.labels).tolist() == [1553, 1269, 929, 824, 852, 716, 834, 792, 708, 821]
    part = digits.read("mnist5000", None)
    for split, count in (("train", 400), ("test", 100)):
        images, labels = getattr(mnist, f"{split}_images"), getattr(mnist, f"{split}_labels")
        rows = np.sort(np.concatenate([np.flatnonzero(labels == digit)[:count] for digit in range(10)]))
        np.testing.assert_array_equal(getattr(part, f"{split}_images"), images[rows])
        np.testing.assert_array_equal(getattr(part, f"{split}_labels"), labels[rows])
