"""What the values of an attribute mean: which say that it is not known, and which may be one class spelled twice."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

# Values, in small letters and without spaces around, that say that an attribute is not known. Images with one are left
# out. "other" and "others" are no such values: an annotator saw the vehicle and chose them.
UNKNOWN: dict[str, str] = {
    "": "an empty field, and models whose type CompCars does not know",
    "unknown": "the word for it, in data of one's own as well as in lists",
    "none": "a missing value of Python, written as text",
    "null": "a missing value of a database or of JSON",
    "nan": "a missing value of pandas",
    "n/a": "not applicable, or not available",
    "-": "a dash in a table",
    "?": "what an annotator writes who cannot tell",
}
_LONG = 6  # letters from which on one of them may be a slip


def is_known(value: str) -> bool:
    """Whether a value names a class."""
    return value.strip().lower() not in UNKNOWN


def similar_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different names that may be one class, in alphabetical order.

    They differ in capital letters, spaces and punctuation alone; or else in one word of six letters or more, without
    digits, by one letter that is missing or another one. A1 and A2 are two models, and so are Golf and Gulf.
    """
    groups = defaultdict(set)
    for name in set(names):
        for key in _keys(name):
            groups[key].add(name)
    pairs = {(a, b) for group in groups.values() for a in group for b in group if a < b}
    return sorted(pairs)


def _keys(name: str) -> Iterator[tuple[str, ...]]:
    """Similar names have one of these in common."""
    words = re.findall(r"[^\W_]+", name.casefold())
    yield ("".join(words),)
    for i, word in enumerate(words):
        if word.isalpha() and len(word) >= _LONG - 1:
            for j in range(len(word) + 1):
                # A letter less in one name is a gap before that letter in the other.
                if len(word) >= _LONG and j < len(word):
                    yield (*words[:i], f"{word[:j]}?{word[j + 1 :]}", *words[i + 1 :])
                yield (*words[:i], f"{word[:j]}?{word[j:]}", *words[i + 1 :])
