"""Handwritten digits: scikit-learn's embedded ones, MNIST and USPS in each of their usual formats."""

import bz2
import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from sklearn.datasets import load_digits, load_svmlight_file

from common.datasets.images import existing_folder

MNIST_5000 = Path(__file__).with_name("mnist5000")  # 400 training and 100 test images of each digit


@dataclass(frozen=True)
class Digits:
    """Gray images (N, H, W, 1), float32 in [0, 1], and labels (N,), int64 in 0..9, split in two."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """(N, H, W, 1): training then test images."""
        return np.concatenate([self.train_images, self.test_images])

    @property
    def labels(self) -> np.ndarray:
        """(N,): labels of `images`."""
        return np.concatenate([self.train_labels, self.test_labels])


def read(dataset: str, data_dir: Path | None) -> Digits:
    """Reads "digits" or "mnist5000" (both embedded), "mnist" or "usps" (both from `data_dir`).

    Raises:
        ValueError: unknown data set, no folder given, or the reader's complaint.
    """
    if dataset == "digits":
        return read_embedded()
    if dataset == "mnist5000":
        return read_mnist(MNIST_5000)
    readers = {"mnist": read_mnist, "usps": read_usps}
    if dataset not in readers:
        raise ValueError(f"Unknown data set {dataset!r}; expected one of {['digits', 'mnist5000', *readers]}.")
    if data_dir is None:
        raise ValueError(f"Data set {dataset!r} is read from a folder: pass --data-dir.")
    return readers[dataset](data_dir)


def read_embedded() -> Digits:
    """scikit-learn's 1,797 digits of 8×8 pixels; the last 360 are the test split."""
    bunch = load_digits()
    images = _checked_images(bunch.images / 16.0, "scikit-learn's digits")
    labels = bunch.target.astype("int64")
    return Digits(images[:-360], labels[:-360], images[-360:], labels[-360:])


def read_mnist(root: Path) -> Digits:
    """MNIST from `mnist.npz`, or from LeCun's four IDX files, gzipped or not.

    Raises:
        ValueError: the folder, one of the files or part of a file is missing or wrong.
    """
    root = existing_folder(root)
    if (root / "mnist.npz").is_file():
        paths = [root / "mnist.npz"] * 4
        with _naming(paths[0]), np.load(paths[0]) as arrays:
            parts = [arrays[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    else:
        names = [f"{split}-{kind}" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
        paths = [_first(root, [f"{name}-ubyte", f"{name}-ubyte.gz"], "mnist.npz") for name in names]
        parts = [read_idx(path) for path in paths]
    return _checked([parts[0] / np.float32(255), parts[1], parts[2] / np.float32(255), parts[3]], paths)


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped if its name ends in `.gz`: uint8 array of its own shape.

    Raises:
        ValueError: wrong magic number, truncated or overlong content, damaged compression.
    """
    path = Path(path)
    with _naming(path):
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or data[3] not in (1, 3):
        raise ValueError(
            f"{path} is not an IDX file of bytes: expected the magic number 00000801 or 00000803, "
            f"got {data[:4].hex() or 'an empty file'}. Fetch it again."
        )
    ndim = data[3]
    shape = tuple(np.frombuffer(data[4 : 4 + 4 * ndim], ">u4")) if len(data) >= 4 + 4 * ndim else ()
    expected = 4 + 4 * ndim + int(np.prod(shape, dtype="int64"))
    if len(shape) != ndim or len(data) != expected:
        raise ValueError(
            f"{path} is truncated or has trailing bytes: its header asks for {expected} bytes, it has "
            f"{len(data)}. Fetch it again."
        )
    return np.frombuffer(data, "uint8", offset=4 + 4 * ndim).reshape(shape)


def read_usps(root: Path) -> Digits:
    """USPS from `usps.h5`, from `zip.train[.gz]` and `zip.test[.gz]`, or from libsvm's `usps[.t].bz2`.

    The text forms hold [-1, 1], which becomes [0, 1].

    Raises:
        ValueError: the folder, one of the files or part of a file is missing or wrong.
    """
    root = existing_folder(root)
    if (root / "usps.h5").is_file():
        paths = [root / "usps.h5"] * 2
        with _naming(paths[0]), h5py.File(paths[0]) as file:
            parts = [file[split][kind][:] for split in ("train", "test") for kind in ("data", "target")]
    elif (root / "usps.bz2").is_file():
        paths = [root / "usps.bz2", _first(root, ["usps.t.bz2"], "usps.h5")]
        parts = [array for path in paths for array in _read_libsvm(path)]
    else:
        names = (["zip.train.gz", "zip.train"], ["zip.test.gz", "zip.test"])
        paths = [_first(root, name, "usps.h5 or usps.bz2") for name in names]
        parts = [array for path in paths for array in _read_zip_text(path)]
    for pixels, path in zip(parts[::2], paths):
        if pixels.ndim != 2 or pixels.shape[1] != 256:
            raise ValueError(f"{path} must hold rows of 256 pixels, got an array of {pixels.shape}.")
    train, test = (pixels.reshape(-1, 16, 16) for pixels in parts[::2])
    return _checked([train, parts[1], test, parts[3]], [paths[0], paths[0], paths[1], paths[1]])


def _read_zip_text(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows of label and 256 values in [-1, 1]."""
    with _naming(path):
        rows = np.loadtxt(path, dtype="float32", ndmin=2)
    return (rows[:, 1:] + 1) / 2, rows[:, 0]


def _read_libsvm(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """libsvm rows: label + 1, then index:value with values in [-1, 1]."""
    with _naming(path), bz2.open(path) as file:
        matrix, labels = load_svmlight_file(file, n_features=256, dtype=np.float32)
    return (matrix.toarray() + 1) / 2, labels - 1


def _first(root: Path, names: list[str], other: str) -> Path:
    """The first of `names` that exists in `root`."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise ValueError(f"{root} has no {' or '.join(names)} (nor {other}). Check --data-dir.")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Inside, what a damaged file makes a reader raise becomes one sentence that names the file."""
    try:
        yield
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read and is probably an incomplete download "
            f"({type(error).__name__}: {error}). Fetch it again."
        ) from error


def _checked(parts: Sequence[np.ndarray], paths: Sequence[Path]) -> Digits:
    """From images, labels, test images and test labels, and the file of each."""
    images, labels, test_images, test_labels = parts
    return Digits(
        _checked_images(images, paths[0]),
        _checked_labels(labels, len(images), paths[1]),
        _checked_images(test_images, paths[2]),
        _checked_labels(test_labels, len(test_images), paths[3]),
    )


def _checked_images(images: np.ndarray, where: str | Path) -> np.ndarray:
    """(N, H, W) in [0, 1] up to rounding -> (N, H, W, 1) float32 in [0, 1]."""
    images = np.asarray(images, "float32")
    if images.ndim != 3 or len(images) == 0:
        raise ValueError(f"{where} must hold images (N, H, W), got an array of {images.shape}.")
    low, high = images.min(), images.max()
    # Not(…) also catches NaN, which compares false.
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise ValueError(f"{where} has pixel values from {low} to {high}, expected 0 to 1.")
    return np.clip(images, 0, 1)[..., np.newaxis]


def _checked_labels(labels: np.ndarray, count: int, where: Path) -> np.ndarray:
    """(N,) whole numbers 0..9 -> int64."""
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"{where} must hold {count} labels, one an image, got an array of {labels.shape}.")
    strange = labels[~np.isin(labels, range(10))]
    if len(strange):
        raise ValueError(f"{where} must hold labels from 0 to 9, got {strange[0]} among others.")
    return labels.astype("int64")
