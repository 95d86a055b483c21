"""The three parts of a data set."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from shufflebits.config import PRESETS
from shufflebits.data import check, describe, is_validation, read


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return replace(PRESETS["smoke"][1], name="run", users=0, data_dir=tmp_path_factory.mktemp("people"))


def test_parts_share_no_person(config):
    parts = read(config)
    sets = [set(table.identity) - {0} for table in (parts.victim, parts.local, parts.users)]
    assert [len(s) for s in sets] == [6, 6, 12] and len(set.union(*sets)) == 24
    assert (parts.users.identity >= 0).all() and len(parts.users) == 12 * 18 + 12 * 6  # with distractors, without junk
    assert "upred" in parts.local
    for a, b in zip(vars(parts).values(), vars(read(config)).values()):
        assert a.equals(b)


def test_parts_stay_the_same_in_every_version(config):
    """Who is whose is drawn by NumPy, from seed 0, and who chooses the epoch from seed 1."""
    parts = read(config)
    people = pd.concat([parts.victim, parts.local]).identity.unique()
    order = np.random.default_rng(0).permutation(np.sort(people))
    assert set(parts.victim.identity) == set(order[:6]) and set(parts.local.identity) == set(order[6:])
    for share, count in ((0.34, 2), (0.4, 2), (0.01, 1)):  # of six: 2.04, 2.4 and 0.06
        chosen = set(np.random.default_rng(1).permutation(parts.local.identity.unique())[:count])
        assert set(parts.local.identity[is_validation(parts.local, share)]) == chosen
    assert read(replace(config, victim_share=0.3)).victim.identity.nunique() == 4  # of 3.6


def test_one_sentence_tells_what_is_trained_on(config):
    sentence = "synthetic, images: 108 for the victim model, 108 of 6 people for the adversary, 288 of users"
    assert describe(config, read(config)) == sentence


def test_devices_share_people_of_a_trained_victim_only(config):
    three = SimpleNamespace(num_replicas_in_sync=3, cluster_resolver=None)
    with pytest.raises(ValueError, match="reconstruction_batch 16 cannot be split over 3 replicas"):
        check(config, three)
    with pytest.raises(ValueError, match="identities"):
        check(replace(config, attacks=("attributes",)), three)
    config = replace(config, attacks=("attributes", "pixel"))
    check(replace(config, victim="bot", features="features.npz"), three)
    check(config, SimpleNamespace(num_replicas_in_sync=2, cluster_resolver=None))
    with pytest.raises(ValueError, match="shufflebits trains in one process"):
        check(config, SimpleNamespace(num_replicas_in_sync=2, cluster_resolver=object()))


def test_users_are_spread_evenly(config):
    every, some = (read(replace(config, users=count)).users for count in (0, 4))
    pd.testing.assert_frame_equal(some, every.iloc[[0, 95, 191, 287]].set_axis(range(4)))


def test_features_of_another_model_leave_all_training_people_to_the_adversary(config):
    parts = read(replace(config, victim="bot", features="features.npz"))
    assert len(parts.victim) == 0 and parts.local.identity.nunique() == 12


def test_batches_that_the_local_set_cannot_fill(config):
    """108 images: one batch of 55 for the discriminator and one for the generator are too many."""
    with pytest.raises(
        ValueError, match="local set must have 110 images or more, got 108; lower --reconstruction-batch"
    ):
        read(replace(config, reconstruction_batch=55))
    read(replace(config, reconstruction_batch=54))
    read(replace(config, reconstruction_batch=108, attacks=("attributes", "pixel")))
    read(replace(config, reconstruction_batch=500, attacks=("attributes",)))


def test_people_to_learn_from_are_left(config):
    """Of six people, a share of 0.92 is 5.52, so all; only classifiers that choose by them hold people out."""
    config = replace(config, attacks=("attributes", "pixel"))
    read(replace(config, validation_share=0.91))
    config = replace(config, validation_share=0.92)
    with pytest.raises(ValueError, match="All 6 people of the local set are held out .*; lower --validation-share or"):
        read(config)
    read(replace(config, choose_best_on="test"))
    read(replace(config, attacks=("pixel",)))
