"""No nonce twice: over restarts, crashes, threads, processes and the end of the numbers."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from common.layers import ChaCha20
from shufflebits.cipher import nonces as module
from shufflebits.cipher.nonces import LIMIT, NonceSequence
from tests.helpers import run_python, words_of


def number(nonce):
    assert nonce.shape == (3,) and nonce.dtype == np.uint32
    return int.from_bytes(nonce.astype("<u4").tobytes(), "little")


def on_disk(path):
    return json.loads(path.read_text())["next_message"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nonces.json"


def set_number(path, value):
    path.write_text(json.dumps({**json.loads(path.read_text()), "next_message": value}))


def test_counts_on_after_a_restart(path):
    with NonceSequence.create(path) as nonces:
        key = nonces.key
        assert [number(nonces.next_nonce()) for _ in range(3)] == [0, 1, 2]
        for file in (path, path.with_name(f"{path.name}.lock")):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert key.shape == (8,) and key.dtype == np.uint32
    with NonceSequence(path) as nonces:
        assert number(nonces.next_nonce()) == 3
        np.testing.assert_array_equal(nonces.key, key)
    assert bytes.fromhex(json.loads(path.read_text())["chacha20_key"]) == key.astype("<u4").tobytes()


def test_feeds_the_cipher(path):
    """What the layer encrypts with the second nonce, the library decrypts with number 1."""
    features = np.arange(6, dtype="float32").reshape(2, 3)
    with NonceSequence.create(path) as nonces:
        nonces.next_nonce()
        words = words_of(ChaCha20()([features, nonces.key, nonces.next_nonce(), np.uint32(0)]))
        key = nonces.key.astype("<u4").tobytes()
    decryptor = Cipher(algorithms.ChaCha20(key, bytes(4) + (1).to_bytes(12, "little")), mode=None).decryptor()
    assert decryptor.update(words.tobytes()) == features.tobytes()


def test_number_is_on_the_disk_before_it_leaves(path, monkeypatch):
    with NonceSequence.create(path) as nonces:
        nonces.next_nonce()
        assert on_disk(path) == 1
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_private", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OSError, match="disk full"):
                nonces.next_nonce()
        assert number(nonces.next_nonce()) == 1 and on_disk(path) == 2


def test_reserved_numbers_are_skipped_after_a_crash(path):
    crash = "import os, sys; from shufflebits.cipher.nonces import NonceSequence as S"
    crash += "; s = S.create(sys.argv[1], reserve=100); s.next_nonce(); s.next_nonce(); os._exit(9)"
    run_python("-c", crash, str(path), status=9)
    with NonceSequence(path, reserve=100) as nonces:
        assert [number(nonces.next_nonce()) for _ in range(101)] == [*range(100, 201)]
        assert on_disk(path) == 300


def test_threads_share_without_repeats(path):
    with NonceSequence.create(path, reserve=64) as nonces, ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: number(nonces.next_nonce()), range(2000)))
    assert sorted(numbers) == list(range(2000))


def test_second_sequence_is_refused(path):
    message = "is in use by another NonceSequence; create one for each"
    with NonceSequence.create(path), pytest.raises(ValueError, match=message):
        NonceSequence(path)
    with NonceSequence(path) as nonces:
        assert number(nonces.next_nonce()) == 0


def test_forked_process_is_refused(path, monkeypatch):
    with NonceSequence.create(path) as nonces:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(ValueError, match="opened by another process; open one of your own"):
            nonces.next_nonce()


@pytest.mark.parametrize("reserve", [1, 1000])
def test_last_number_and_no_further(path, reserve):
    NonceSequence.create(path).close()
    set_number(path, LIMIT - 2)
    with NonceSequence(path, reserve) as nonces:
        assert [number(nonces.next_nonce()) for _ in range(2)] == [LIMIT - 2, LIMIT - 1]
        with pytest.raises(ValueError, match="numbered its last message; create a NonceSequence with a new key"):
            nonces.next_nonce()
    with NonceSequence(path) as nonces, pytest.raises(ValueError, match="numbered its last message"):
        nonces.next_nonce()


def test_bad_files(path):
    with pytest.raises(FileNotFoundError):
        NonceSequence(path)
    NonceSequence.create(path).close()
    with pytest.raises(FileExistsError, match="exists; open it with NonceSequence"):
        NonceSequence.create(path)
    path.chmod(0o644)
    with pytest.raises(PermissionError, match=r"open to others \(mode 644\)"):
        NonceSequence(path)
    path.chmod(0o600)
    states = [{}, *({"chacha20_key": key, "next_message": n} for key, n in (("00", 0), (5, 0), ("00" * 32, -1)))]
    for content in ("x", *map(json.dumps, states)):
        path.write_text(content)
        with pytest.raises(ValueError, match="is no file of a NonceSequence; make one with NonceSequence.create"):
            NonceSequence(path)
    with pytest.raises(ValueError, match="reserve must be one or more, got 0"):
        NonceSequence(path, reserve=0)


def test_closed_and_hidden(path):
    nonces = NonceSequence.create(path)
    assert repr(nonces) == f"NonceSequence('{path}', key hidden)"
    nonces.close()
    nonces.close()
    with pytest.raises(ValueError, match="is closed"):
        nonces.next_nonce()
