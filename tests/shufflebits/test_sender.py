"""No nonce twice: over restarts, crashes, threads, processes and the end of the numbers."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from common.layers import ChaCha20
from shufflebits import sender as module
from shufflebits.sender import LIMIT, Sender
from tests.helpers import run_python, words_of


def number(nonce):
    assert nonce.shape == (3,) and nonce.dtype == np.uint32
    return int.from_bytes(nonce.astype("<u4").tobytes(), "little")


def on_disk(path):
    return json.loads(path.read_text())["next_message"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sender.json"


def set_number(path, value):
    path.write_text(json.dumps({**json.loads(path.read_text()), "next_message": value}))


def test_counts_on_after_a_restart(path):
    with Sender.create(path) as sender:
        key = sender.key
        assert [number(sender.next_nonce()) for _ in range(3)] == [0, 1, 2]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and key.shape == (8,) and key.dtype == np.uint32
    with Sender(path) as sender:
        assert number(sender.next_nonce()) == 3
        np.testing.assert_array_equal(sender.key, key)
    assert bytes.fromhex(json.loads(path.read_text())["chacha20_key"]) == key.astype("<u4").tobytes()


def test_feeds_the_cipher(path):
    """What the layer encrypts with the second nonce, the library decrypts with number 1."""
    features = np.arange(6, dtype="float32").reshape(2, 3)
    with Sender.create(path) as sender:
        sender.next_nonce()
        words = words_of(ChaCha20()([features, sender.key, sender.next_nonce(), np.uint32(0)]))
        key = sender.key.astype("<u4").tobytes()
    decryptor = Cipher(algorithms.ChaCha20(key, bytes(4) + (1).to_bytes(12, "little")), mode=None).decryptor()
    assert decryptor.update(words.tobytes()) == features.tobytes()


def test_number_is_on_the_disk_before_it_leaves(path, monkeypatch):
    with Sender.create(path) as sender:
        sender.next_nonce()
        assert on_disk(path) == 1
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_private", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OSError, match="disk full"):
                sender.next_nonce()
        assert number(sender.next_nonce()) == 1 and on_disk(path) == 2


def test_reserved_numbers_are_skipped_after_a_crash(path):
    crash = "import os, sys; from shufflebits.sender import Sender; s = Sender.create(sys.argv[1], reserve=100)"
    crash += "; s.next_nonce(); s.next_nonce(); os._exit(9)"
    run_python("-c", crash, str(path), status=9)
    with Sender(path, reserve=100) as sender:
        assert [number(sender.next_nonce()) for _ in range(101)] == [*range(100, 201)]
        assert on_disk(path) == 300


def test_threads_share_without_repeats(path):
    with Sender.create(path, reserve=64) as sender, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: number(sender.next_nonce()), range(2000)))
    assert sorted(found) == list(range(2000))


def test_second_sender_is_refused(path):
    with Sender.create(path), pytest.raises(ValueError, match="is in use by another sender; create one for each"):
        Sender(path)
    with Sender(path) as sender:
        assert number(sender.next_nonce()) == 0


def test_forked_process_is_refused(path, monkeypatch):
    with Sender.create(path) as sender:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(ValueError, match="opened by another process; open one of your own"):
            sender.next_nonce()


@pytest.mark.parametrize("reserve", [1, 1000])
def test_last_number_and_no_further(path, reserve):
    Sender.create(path).close()
    set_number(path, LIMIT - 2)
    with Sender(path, reserve) as sender:
        assert [number(sender.next_nonce()) for _ in range(2)] == [LIMIT - 2, LIMIT - 1]
        with pytest.raises(ValueError, match="numbered its last message; create a sender with a new key"):
            sender.next_nonce()
    with Sender(path) as sender, pytest.raises(ValueError, match="numbered its last message"):
        sender.next_nonce()


def test_bad_files_are_told(path):
    with pytest.raises(FileNotFoundError):
        Sender(path)
    Sender.create(path).close()
    with pytest.raises(FileExistsError, match="exists; open it with Sender"):
        Sender.create(path)
    path.chmod(0o644)
    with pytest.raises(PermissionError, match=r"open to others \(mode 644\)"):
        Sender(path)
    path.chmod(0o600)
    states = [{}, *({"chacha20_key": key, "next_message": n} for key, n in (("00", 0), (5, 0), ("00" * 32, -1)))]
    for content in ("x", *map(json.dumps, states)):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"is no sender's file; make one with Sender.create"):
            Sender(path)
    with pytest.raises(ValueError, match="reserve must be one or more, got 0"):
        Sender(path, reserve=0)


def test_closed_and_hidden(path):
    sender = Sender.create(path)
    assert repr(sender) == f"Sender('{path}', key hidden)"
    sender.close()
    sender.close()
    with pytest.raises(ValueError, match="is closed"):
        sender.next_nonce()
