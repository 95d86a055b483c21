"""What is wrong with a copy of a data set, before hours of work."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from common.datasets.images import SUFFIXES, digest_of, is_leftover, list_images
from common.datasets.person_reid import BOX_NAME, OFFICIAL_COUNTS, SPLITS

# Images of VERI-Wild and CompCars as their lists count them: training, test (VERI-Wild's largest of three).
LISTED_IMAGES = {"VERI-Wild": (277_797, 138_517), "CompCars": (16_016, 14_939), "CompCars SV": (31_148, 13_333)}
_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One sentence about a data set."""

    text: str
    is_problem: bool  # or else good to know


@dataclass(frozen=True)
class Layout:
    """How a set is laid out in its folder."""

    name: str
    marks: tuple[str, ...]  # files or folders that it is known by
    # Folder -> side -> lists of images (paths below a folder, and an identity where the list has one).
    sides: Callable[[Path], dict[str, list[str]]]
    official: tuple[tuple[str, tuple[int, ...]], ...] = ()  # published numbers of images, by the set's name


def check(root: Path) -> tuple[str, list[Finding]]:
    """The kind of set that a folder holds, and what is to be said of it.

    Market-1501, DukeMTMC-reID, MSMT17, VERI-Wild, CompCars and its surveillance part are known by their folders and
    lists; any other folder is one of classes. Every image is read and decoded.

    Raises:
        ValueError: there is no such folder, or nothing in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"The data folder {root} does not exist. Check the path.")
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not is_leftover(path.name))]
    matches = [(place, layout) for place in places for layout in LAYOUTS if _has(place, layout)]
    findings = []
    if len(matches) > 1:
        listed = ", ".join(f"{place} ({layout.name})" for place, layout in matches)
        findings.append(Finding(f"Several sets are here, of which the first is checked: {listed}. Name one.", True))
    folder, layout = matches[0] if matches else (root, CLASSES)
    try:
        sides = layout.sides(folder)
    except (OSError, UnicodeDecodeError) as error:
        name = getattr(error, "filename", None) or folder
        return layout.name, [*findings, Finding(f"{name} is missing or cannot be read. Unpack the set again.", True)]
    if not any(sides.values()):
        raise ValueError(f"{folder} has no images ({', '.join(SUFFIXES)}). Check the path.")
    findings += _files(folder, layout, sides)
    findings += _identities(layout, sides)
    findings += _contents(sides)
    findings += _counts(layout, sides)
    return f"{layout.name} in {folder}", findings


def _has(folder: Path, layout: Layout) -> bool:
    return all((folder / mark).exists() for mark in layout.marks)


def _boxes(folder: Path) -> dict[str, list[str]]:
    return {side: list_images(folder / name)[0] for side, name in SPLITS.items()}


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def _msmt17(folder: Path) -> dict[str, list[str]]:
    old = (folder / "train").is_dir()
    images = {"train": "train" if old else "mask_train_v2", "test": "test" if old else "mask_test_v2"}
    lists = {"train": ("train", "val"), "query": ("query",), "gallery": ("gallery",)}
    return {
        side: [
            str(folder / images["train" if side == "train" else "test"] / line.split()[0])
            for name in names
            for line in _lines(folder / f"list_{name}.txt")
        ]
        for side, names in lists.items()
    }


def _veri_wild(folder: Path) -> dict[str, list[str]]:
    split = folder / "train_test_split"
    tests = [m for m in (re.fullmatch(r"test_(\d+)(_id)?(_query)?\.txt", n) for n in os.listdir(split)) if m]
    largest = max((int(match[1]) for match in tests), default=0)
    lists = {"train": [n for n in ("train_list.txt", "train_list_start0.txt") if (split / n).exists()][:1]}
    lists["test"] = [match[0] for match in tests if int(match[1]) == largest]
    keys = {side: [line.split()[0] for name in names for line in _lines(split / name)] for side, names in lists.items()}
    return {
        side: [str(folder / "images" / key) + ("" if key.lower().endswith(SUFFIXES) else ".jpg") for key in each]
        for side, each in keys.items()
    }


def _compcars(folder: Path) -> dict[str, list[str]]:
    lists = folder / "train_test_split/classification"
    return {
        side: [str(folder / "image" / line) for line in _lines(lists / f"{side}.txt")] for side in ("train", "test")
    }


def _compcars_sv(folder: Path) -> dict[str, list[str]]:
    sides = ("train", "test")
    return {
        side: [str(folder / "image" / line) for line in _lines(folder / f"{side}_surveillance.txt")] for side in sides
    }


def _classes(folder: Path) -> dict[str, list[str]]:
    classes = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not is_leftover(e.name))
    return {name: list_images(folder / name, nested=True)[0] for name in classes}


CLASSES = Layout("a folder of classes", (), _classes)
LAYOUTS = (
    Layout("Market-1501 or DukeMTMC-reID", tuple(SPLITS.values()), _boxes,
           tuple((name, OFFICIAL_COUNTS[name]) for name in ("Market", "Duke"))),
    Layout("MSMT17", ("list_train.txt",), _msmt17, (("MSMT17", OFFICIAL_COUNTS["MSMT17"]),)),
    Layout("VERI-Wild", ("train_test_split/vehicle_info.txt",), _veri_wild,
           (("VERI-Wild", LISTED_IMAGES["VERI-Wild"]),)),
    Layout("CompCars", ("train_test_split/classification/train.txt",), _compcars,
           (("CompCars", LISTED_IMAGES["CompCars"]),)),
    Layout("CompCars SV", ("train_surveillance.txt",), _compcars_sv, (("CompCars SV", LISTED_IMAGES["CompCars SV"]),)),
)  # fmt: skip


def _files(folder: Path, layout: Layout, sides: dict[str, list[str]]) -> Iterable[Finding]:
    """What else lies in the folder, how its images are called, and how its lists are written."""
    used = {path for paths in sides.values() for path in paths}
    leftovers, others, unused, lists = [], [], [], []
    for place, folders, names in os.walk(folder):
        inside = [os.path.join(place, name) for name in names]
        leftovers += [path for path in inside if is_leftover(os.path.basename(path))]
        leftovers += [os.path.join(place, name) for name in folders if is_leftover(name)]
        folders[:] = [name for name in folders if not is_leftover(name)]
        inside = [path for path in inside if not is_leftover(os.path.basename(path))]
        unused += [path for path in inside if path.lower().endswith(SUFFIXES) and path not in used]
        others += [path for path in inside if not path.lower().endswith((*SUFFIXES, ".txt", ".mat", ".xml", ".md"))]
        lists += [path for path in inside if path.endswith(".txt") and "readme" not in path.lower()]
    yield from _say(leftovers, "file(s) or folder(s) that systems and archives leave behind, which readers skip")
    yield from _say(others, "file(s) that are neither images nor texts, which readers skip")
    yield from _say(unused, "image(s) that are on no side, such as nested ones or ones in no list; readers skip them")
    if layout is CLASSES:
        nested = [path for name, paths in sides.items() for path in paths if Path(path).parent != folder / name]
        yield from _say(nested, "image(s) in folders inside a class, which count for the class")
    else:
        yield from _say(
            [path for path in sorted(used) if not os.path.isfile(path)], "listed image(s) are missing", True
        )
    suffixes = Counter(os.path.splitext(path)[1].lower() for path in used)
    if len(suffixes) > 1:
        numbers = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common())
        yield Finding(f"Images have several suffixes: {numbers}.", False)
    heads = {path: Path(path).read_bytes() for path in lists if layout is not CLASSES}
    yield from _say(
        [p for p, data in heads.items() if b"\r\n" in data], "text(s) with Windows line ends; readers take them"
    )
    marked = [path for path, data in heads.items() if data.startswith(b"\xef\xbb\xbf")]
    yield from _say(marked, "text(s) with a byte order mark; readers take them")


def _identities(layout: Layout, sides: dict[str, list[str]]) -> Iterable[Finding]:
    """Names that tell no identity, and identities that are trained on and tested."""
    if layout.name not in ("Market-1501 or DukeMTMC-reID", "VERI-Wild"):
        return  # identities of MSMT17 are numbered anew; classes of CompCars are on both sides on purpose
    identities: dict[str, set[str]] = {}
    for side, paths in sides.items():
        if layout.name == "VERI-Wild":
            identities[side] = {Path(path).parent.name for path in paths}
            continue
        names = {path: BOX_NAME.fullmatch(os.path.basename(path)) for path in paths}
        yield from _say(
            [p for p, match in names.items() if match is None], "file name(s) tell no identity and camera", True
        )
        identities[side] = {str(int(match[1])) for match in names.values() if match} - {"-1", "0"}
    tested = set().union(*(each for side, each in identities.items() if side != "train"))
    leaked = sorted(identities["train"] & tested)
    yield from _say(leaked, "identities are in the training set and in the test set", True)


def _contents(sides: dict[str, list[str]]) -> Iterable[Finding]:
    """Images that cannot be decoded, and equal bytes."""
    side_of = [(side, path) for side, paths in sides.items() for path in paths if os.path.isfile(path)]
    with ThreadPool(8) as pool:
        made = pool.imap(digest_of, [path for _, path in side_of], chunksize=16)
        digests = list(tqdm(made, "images", len(side_of), unit="image", delay=2, leave=False))
    damaged = [path for (_, path), digest in zip(side_of, digests) if digest is None]
    yield from _say(damaged, "image(s) cannot be read; fetch them again, or remove them", True)
    same: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for entry, digest in zip(side_of, digests):
        if digest is not None:
            same[digest].append(entry)
    copies: dict[tuple[str, ...], list[list[tuple[str, str]]]] = defaultdict(list)  # sides -> pictures that are in all
    for entries in same.values():
        if len(entries) > 1:
            copies[tuple(sorted({side for side, _ in entries}))].append(entries)
    for names, pictures in copies.items():
        if len(names) > 1:
            first = pictures[0][0][1]
            yield Finding(
                f"{len(pictures):,} picture(s) are in {' and '.join(names)}, byte for byte, such as {first}.", True
            )
    within = [picture[1][1] for names, pictures in copies.items() if len(names) == 1 for picture in pictures]
    yield from _say(within, "image(s) equal another one of their side, byte for byte")


def _counts(layout: Layout, sides: dict[str, list[str]]) -> Iterable[Finding]:
    counts = {side: len(paths) for side, paths in sides.items()}
    if layout.name == "Market-1501 or DukeMTMC-reID":  # published without junk
        names = (BOX_NAME.fullmatch(os.path.basename(path)) for path in sides["gallery"])
        counts["gallery"] = sum(match is None or match[1] != "-1" for match in names)
    numbers = ", ".join(f"{side} {count:,}" for side, count in counts.items())
    official = dict(layout.official)
    name = next((name for name, published in official.items() if published == tuple(counts.values())), None)
    if name is not None or not official:
        yield Finding(f"Images: {numbers}{'' if name is None else f', as published for {name}'}.", False)
        return
    published = "; ".join(f"{name} {values}" for name, values in official.items())
    yield Finding(f"Images: {numbers}; published are {published}. Scores on this copy do not compare.", True)


def _say(items: list[str], what: str, is_problem: bool = False) -> Iterable[Finding]:
    if items:
        more = " …" if len(items) > _EXAMPLES else ""
        yield Finding(f"{len(items):,} {what}: {', '.join(items[:_EXAMPLES])}{more}", is_problem)
