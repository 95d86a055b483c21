"""Values that name no class, and names that may be one class."""

import warnings

import pytest

from tests.common.datasets.test_image_folder import picture
from tests.vehicle_attributes.layouts import write_files
from vehicle_attributes.config import Config
from vehicle_attributes.data import read
from vehicle_attributes.readers.values import UNKNOWN, is_known, similar_names


def test_values_that_say_unknown():
    assert [value for value in UNKNOWN if is_known(value) or is_known(f" {value.upper()} ")] == []
    assert all(map(is_known, ["other", "others", "sedan", "Unknown make", "0", "NaNa"]))


@pytest.mark.parametrize(
    ("name", "other", "similar"),
    [
        ("Volkswagen", "volkswagen ", True),
        ("Mercedes-Benz", "mercedes benz", True),
        ("Land Rover", "Landrover", True),
        ("Volkswagen", "Volkwagen", True),  # a letter is missing
        ("Volkswagen Golf", "Volkswaggen Golf", True),  # one is too much
        ("Toyota", "Toyoda", True),  # another one
        ("Roewe", "Roewee", True),  # six letters in the longer one
        ("Toyota", "Toyoto", True),
        ("Roewe", "Roewes", True),  # the last letter
        ("Toyota", "Tayoda", False),  # two others
        ("Roewe", "Rouwe", False),  # five letters
        ("Golf", "Gulf", False),  # short words
        ("Benz C class", "Benz E class", False),
        ("Volkswagen Golf", "Volkwagen Gulf", False),  # two words
        ("Audi A4L", "Audi A6L", False),  # numbers
        ("BMW X5 (4)", "BMW X5 (5)", False),
        ("roadster2010", "roadster2011", False),
        ("Fastback", "Hatchback", False),
    ],
)
def test_similar_names(name, other, similar):
    assert similar_names([name, "Ford", other, "Opel", name]) == ([tuple(sorted((name, other)))] if similar else [])


def test_similar_classes_are_named_in_a_sentence_and_stay_apart(tmp_path):
    names = ["Volkswagen", "Volkwagen", "audi", *(f"{'abcdef'[i]}-class" for i in range(6))]
    folders = [*names, *(f"{name[0]} class" for name in names[3:])]
    write_files(tmp_path, {f"{name}/{i}.jpg": picture(f"{name} {i}") for name in folders for i in range(2)})
    expected = (
        "^Classes of make with almost equal names, which stay apart: 'Volkswagen' and 'Volkwagen', 'a class' and "
        "'a-class', .* and 2 more. If they are one class, give them one name in the data set.$"
    )
    with pytest.warns(UserWarning, match=expected) as caught:
        data = read(Config(dataset="folders", data_dir=tmp_path, attributes=("make",)))
    assert len(caught) == 1 and sorted(data.train["make"]) == sorted(folders)
    for name in ["Volkwagen", *(f"{letter} class" for letter in "abcdef")]:
        for i in range(2):
            (tmp_path / name / f"{i}.jpg").unlink()
        (tmp_path / name).rmdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(Config(dataset="folders", data_dir=tmp_path, attributes=("make",)))
