"""Selection of networks by hand and against all choices; batches and tiles that change nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_compression import coding, reconstruction
from neural_compression.attempt import Target, dialled
from neural_compression.blocks import to_blocks
from neural_compression.coding import Candidates, by_lagrangian, by_quality, lagrangian
from neural_compression.reconstruction import BATCH, deblocked, decode_blocks, reconstruct
from tests.neural_compression.small_codec import LENGTHS, picture, save_codec
from tests.neural_compression.synthetic_codes import bits


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return save_codec(tmp_path_factory.mktemp("codec") / "codec.npz")


def test_shortest_code_that_reaches_a_psnr_by_hand():
    samples = np.array([[3072, 3072, 3072, 96]])
    limit = 3072 * 65.025  # 30 dB
    errors = np.array([[[199757, 199756, 9e5, 6242]], [[1, 0, 199756, 6243]], [[0, 0, 0, 9]]]).astype(int)
    assert 199756 < limit < 199757 and 6242 < limit / 32 < 6243
    assert by_quality(errors, samples, 30.0).tolist() == [[1, 0, 1, 0]]
    assert by_quality(errors + 10**7, samples, 30.0).tolist() == [[2, 2, 2, 2]]
    assert by_quality(errors * 0, samples, 90.0).dtype == np.uint8


def test_lagrangian_choice_by_hand():
    """Two blocks beside each other: network 1 pays only if both have it, as the second then takes 10 bits less."""
    errors = np.array([[[100, 100]], [[96, 96]]])
    costs = np.zeros((2, 2, 2, 1, 2))
    costs[0], costs[1] = 10, 16
    costs[1, 1, :, 0, 1] = 6
    assert lagrangian(np.array([[0, 0]]), errors, costs, 1.0) == 220
    assert lagrangian(np.array([[1, 1]]), errors, costs, 1.0) == 214
    assert lagrangian(np.array([[0, 1]]), errors, costs, 1.0) == 222
    assert by_lagrangian(errors, costs, 1.0).tolist() == [[1, 1]]
    costs[1, 1, :, 0, 1] = 13  # now 221: rather twice network 0
    assert by_lagrangian(errors, costs, 1.0).tolist() == [[0, 0]]
    assert by_lagrangian(errors, costs, 1e-6).tolist() == [[1, 1]]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), weight=st.floats(0.01, 100))
def test_lagrangian_choice_stands_where_no_single_change_helps(seed, weight):
    random = np.random.default_rng(seed)
    errors, costs = random.integers(0, 100, (2, 3, 3)), random.integers(0, 20, (2, 2, 2, 3, 3)).astype(float)
    chosen = by_lagrangian(errors, costs, weight)

    def value(networks):
        total = 0.0
        for r, c in np.ndindex(3, 3):
            n = networks[r, c]
            left, up = int(c > 0 and networks[r, c - 1] == n), int(r > 0 and networks[r - 1, c] == n)
            total += errors[n, r, c] + weight * costs[n, left, up, r, c]
        return total

    found = value(chosen)
    assert lagrangian(chosen, errors, costs, weight) == pytest.approx(found)
    for r, c in np.ndindex(3, 3):
        changed = chosen.copy()
        changed[r, c] ^= 1
        assert value(changed) >= found - 1e-9
    for n in (0, 1):
        assert value(np.full((3, 3), n)) >= found - 1e-9
    best = min(value(np.reshape(bits, (3, 3))) for bits in itertools.product((0, 1), repeat=9))
    assert best <= found + 1e-9


def test_costs_are_those_of_the_context_model(codec):
    found = Candidates.of(codec, picture(90, 130))
    costs = found.costs(codec.bit_models, "context")
    networks = np.random.default_rng(3).integers(0, 3, (3, 5)).astype(np.uint8)
    expected = bits(codec.bit_models, found.chosen(networks), networks)
    assert coding.bits(networks, costs) == pytest.approx(expected, rel=1e-12)


def test_errors_count_what_is_inside_the_image(codec):
    image = picture(40, 33)
    found = Candidates.of(codec, image)
    assert found.samples.tolist() == [[3072, 96], [768, 24]]
    plain = save_codec_without_deblocking(codec)
    for n in range(3):
        networks = np.full((2, 2), n, np.uint8)
        decoded = reconstruct(plain, networks, found.chosen(networks), 40, 33).astype(int)
        assert found.errors[n].sum() == np.square(decoded - image).sum()


def save_codec_without_deblocking(codec):
    return type(codec)(**{**vars(codec), "deblocking": None})


def test_a_block_decodes_alike_among_any_others(codec):
    random = np.random.default_rng(0)
    for n, length in enumerate(LENGTHS):
        codes = random.integers(0, 2, (BATCH, length)).astype(np.uint8)
        together = decode_blocks(codec.decoders[n], codes)
        assert together.std() > 1
        for i in (0, 1, 37, 63):
            np.testing.assert_array_equal(decode_blocks(codec.decoders[n], codes[i : i + 1])[0], together[i])


@pytest.mark.parametrize("size", [(1, 1), (8, 250), (203, 141), (256, 192)])
def test_tiles_give_what_the_whole_image_gives(codec, size):
    image = picture(*size)
    whole, tiled = deblocked(codec.deblocking, image, 1024), deblocked(codec.deblocking, image, 64)
    assert whole.shape == image.shape and (size == (1, 1) or np.abs(whole.astype(int) - image).mean() > 0.5)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert np.count_nonzero(whole != tiled) <= 1e-3 * whole.size


def test_tiles_must_overlap_by_what_the_network_sees(codec, monkeypatch):
    """At 16 pixels the comparison above fails, so it sees a receptive field of more."""
    image = picture(203, 141)
    whole = deblocked(codec.deblocking, image, 1024).astype(int)
    monkeypatch.setattr(reconstruction, "_OVERLAP", 16)
    assert np.abs(whole - deblocked(codec.deblocking, image, 64)).max() > 1


def test_whole_multiples_of_8_are_one_call_of_the_network(codec):
    image = picture(64, 96)
    expected = np.asarray(codec.deblocking(image[None] / np.float32(255)))[0]
    np.testing.assert_array_equal(deblocked(codec.deblocking, image), np.rint(255 * expected.clip(0, 1)))


def test_blocks_of_an_image_come_back_to_their_places(codec):
    image = picture(70, 100)
    found = Candidates.of(codec, image)
    np.testing.assert_array_equal(found.blocks, to_blocks(image))
    networks = np.arange(12).reshape(3, 4).astype(np.uint8) % 3
    decoded = reconstruct(save_codec_without_deblocking(codec), networks, found.chosen(networks), 70, 100)
    for r, c in np.ndindex(3, 4):
        n = networks[r, c]
        block = decode_blocks(codec.decoders[n], found.codes[n][r, c][None])[0]
        inside = decoded[32 * r : 32 * r + 32, 32 * c : 32 * c + 32]
        np.testing.assert_array_equal(inside, block[: inside.shape[0], : inside.shape[1]])


def dial(target, at_most, **options):
    """Values 1, 2, 4, 8 for a dial that runs down from 3 to 0."""
    asked = []

    def measure(networks):
        asked.append(int(networks[0, 0]))
        return 2.0 ** networks[0, 0]

    def choose(dial):
        return np.full((1, 1), int(3.999 - dial), np.uint8)

    found = dialled(choose, measure, (3.5, 0.0), Target(target, 0.01, "{:g}", at_most), **options)
    assert len(asked) == len(set(asked))
    return measure(choose(found))


def test_a_dial_finds_the_value_or_the_side_that_keeps_the_promise():
    assert [dial(value, True) for value in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert (dial(3, True), dial(3, False), dial(7.9, True), dial(7.9, False)) == (2, 4, 4, 8)
    assert (dial(0.1, True, may_miss=True), dial(50, False, may_miss=True)) == (1, 8)
    with pytest.raises(ValueError, match="^The nearest that this image can have is 8, got the target 9; pass that one"):
        dial(9, True)
    with pytest.raises(ValueError, match="is 1, got the target 0.5"):
        dial(0.5, False)
