"""The programs of server and client: sealed files, keys, TLS, signals; and models of others behind the server."""

import contextlib
import datetime
import ipaddress
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette

from common.service import connection
from common.service.admission import Limits
from shufflebits.cipher.private_files import create_key, load_key, write_private
from shufflebits.cipher.sealed import open_features, seal
from shufflebits.service.__main__ import main as client_program
from shufflebits.service.__main__ import open_file
from shufflebits.service.encrypted_model import EncryptedEmbedder, load_saved_model
from shufflebits.service.server import Arguments
from shufflebits.service.server import main as server_program
from tests.helpers import run_snippet, start_python
from tests.shufflebits.service.tiny_server import DIMENSIONS, IMAGES, PNG, SECRET, build_embedder


def write_certificate(folder):
    """Of an authority that signs itself, for this machine's address."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([address]), False)
    built = built.add_extension(x509.BasicConstraints(True, None), True)
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(built.sign(key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "saved_model"
    build_embedder().export(folder, verbose=False)
    return folder


def run_client(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["client", *map(str, arguments)])
    client_program()


@pytest.mark.tensorflow
def test_programs_from_start_to_end(saved_model, tmp_path, monkeypatch, capsys):
    """A server with TLS, that stalled clients do not keep from ending; and one of ShuffleBits without."""
    write_certificate(tmp_path)
    tls = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    options = (tls, ("--cipher", "shufflebits"))
    servers = [start_python("-m", "shufflebits.service.server", str(saved_model), "--port", "0", *o) for o in options]
    try:
        secure, plain = [re.search(r"https?://127.0.0.1:(\d+)", server.stdout.readline()) for server in servers]
        assert secure[0].startswith("https:") and plain[0].startswith("http:")
        monkeypatch.setattr(sys, "argv", ["server", str(saved_model), "--port", plain[1]])
        sentence = rf"cannot listen on 127.0.0.1, port {plain[1]} \(Address already in use\); pass another --port"
        with pytest.raises(ValueError, match=sentence):
            server_program()
        monkeypatch.chdir(tmp_path)
        names = ["one.jpg", "two.png", "three.png"]
        for name in names:
            Path(name).write_bytes(PNG)
        before = os.umask(0)
        run_client(monkeypatch, "embed", secure[0], *names, "--tls-ca", "cert.pem")
        run_client(monkeypatch, "embed", plain[0], *names, "--cipher", "shufflebits", "--out", "other.sealed")
        run_client(monkeypatch, "open", "features.sealed")
        run_client(monkeypatch, "open", "other.sealed", "--out", "other.npz")
        os.umask(before)
        assert capsys.readouterr().out.splitlines()[0] == (
            f"3 × {DIMENSIONS} features: features.sealed, sealed under features.key"
        )
        with pytest.raises(ValueError, match=r"cannot be reached, or broke off \(SSLError\)"):
            run_client(monkeypatch, "embed", secure[0], *names)
        snippet = {'Client("http://127.0.0.1:8000")': f'Client("{secure[0]}", tls_ca="cert.pem")'}
        by_python = run_snippet("shufflebits", 1, snippet)["shown"][0]
        stalled = [socket.create_connection(("127.0.0.1", int(plain[1]))) for _ in range(2)]
        stalled[0].sendall(b"POST /embed HTTP/1.1\r\nHost: ")
        head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n"
        stalled[1].sendall(head + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x")
        time.sleep(0.3)
    finally:
        start = time.monotonic()
        for server, number in zip(servers, (signal.SIGINT, signal.SIGTERM)):
            server.send_signal(number)
        ends = [(*server.communicate(timeout=60), server.returncode) for server in servers]
    assert time.monotonic() - start < 10
    assert stalled[1].makefile("rb").read().endswith(b'{"detail":"The server ends."}')
    expected = build_embedder().predict_on_batch(IMAGES[:1])
    for name in ("features.npz", "other.npz"):
        with np.load(name) as file:
            assert file["paths"].tolist() == names and file["features"].dtype == np.float32
            np.testing.assert_allclose(file["features"], expected[[0] * 3], rtol=1e-5)
    np.testing.assert_allclose(by_python, expected[[0] * 2], rtol=1e-5)
    made = ("features.key", "features.sealed", "features.npz", "other.sealed")
    assert {Path(name).stat().st_mode & 0o777 for name in made} == {0o600}
    content = Path("features.sealed").read_bytes()
    assert b"one.jpg" not in content and expected[0].tobytes()[:8] not in content
    assert [status for *_, status in ends] == [0, 0] and '"POST /embed HTTP/1.1" 200' in ends[0][0]
    for _, error, _ in ends:
        assert "Finished server process" in error and "Traceback" not in error


def test_bad_addresses(monkeypatch):
    """A port that is none, and one that another socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port, reason in (
            (70000, "bind... port must be 0-65535."),
            (taken.getsockname()[1], "Address already in use"),
        ):
            monkeypatch.setattr(sys, "argv", ["server", "--port", str(port)])
            sentence = rf"cannot listen on 127.0.0.1, port {port} \({reason}.?\); pass another --port"
            with pytest.raises(ValueError, match=sentence):
                server_program()


def test_a_client_that_does_not_finish_its_handshake_is_let_go(tmp_path):
    """After the second that headers have here too, and not after asyncio's minute."""
    write_certificate(tmp_path)
    files = {"ssl_certfile": tmp_path / "cert.pem", "ssl_keyfile": tmp_path / "key.pem"}
    listener = connection.listen("127.0.0.1", 0)
    settings = connection.settings(Starlette(), Limits(idle_seconds=1), log_config=None, **files)
    server = connection.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        with socket.create_connection(listener.getsockname(), timeout=20) as client:
            begin = time.monotonic()
            client.sendall(b"\x16\x03\x01")  # the beginning of a greeting
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
            assert 0.9 < time.monotonic() - begin < 15
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_tls_takes_two_files(tmp_path):
    with pytest.raises(ValueError, match="pass both --tls-cert and --tls-key"):
        Arguments(tls_cert=tmp_path / "a")
    with pytest.raises(ValueError, match="There is no file .*/a; pass the certificate and its key in PEM files"):
        Arguments(tls_cert=tmp_path / "a", tls_key=tmp_path / "b")


def test_a_file_that_is_no_key_is_refused_before_anything_is_sent(tmp_path, monkeypatch):
    write_private(tmp_path / "key", b"none")
    with pytest.raises(ValueError, match="key is no key file; it must hold 64 hex digits"):
        run_client(monkeypatch, "embed", "http://127.0.0.1:9", "one.png", "--key-file", tmp_path / "key")


def test_keys_are_rotated(tmp_path, monkeypatch, capsys):
    """In one step for each file; a second run finishes what the first one began, and the old key opens nothing."""
    monkeypatch.chdir(tmp_path)
    old = create_key(Path("features.key"))
    for name in ("a", "b"):
        write_private(Path(name), seal(name.encode(), old, b"file of features 1"))
    for files in (("a",), ("a", "b")):
        run_client(monkeypatch, "rotate-key", *files, "--new-key-file", "new.key")
    assert capsys.readouterr().out.endswith("2 files are sealed under new.key; delete features.key and its copies.\n")
    new = load_key(Path("new.key"))
    assert [open_file(Path(name), new) for name in ("a", "b")] == [b"a", b"b"] and new != old
    assert {Path(name).stat().st_mode & 0o777 for name in ("a", "b", "new.key")} == {0o600}
    with pytest.raises(ValueError, match="^b is no sealed file of features, was altered, or another key sealed it"):
        open_file(Path("b"), old)
    Path("b").chmod(0o644)
    with pytest.raises(ValueError, match="^b is open to others"):
        run_client(monkeypatch, "open", "b", "--key-file", "new.key")
    assert not Path("features.npz").exists()
    with pytest.raises(ValueError, match="^new.key has the key of new.key; pass another --new-key-file"):
        run_client(monkeypatch, "rotate-key", "a", "--key-file", "new.key", "--new-key-file", "new.key")


@pytest.mark.tensorflow
def test_saved_model_of_several_endpoints(tmp_path):
    """As flipreid.export writes them, and as another framework may: float32, of any size, a named output."""
    archive, model = keras.export.ExportArchive(), build_embedder()
    archive.track(model)
    signature = [keras.InputSpec(shape=(None, 16, 8, 3), dtype="uint8")]
    archive.add_endpoint("single", lambda x: model(x), signature)
    archive.add_endpoint("double", lambda x: 2 * model(x), signature)
    free = [keras.InputSpec(shape=(None, None, None, 3), dtype="float32")]
    archive.add_endpoint("free", lambda x: {"features": keras.ops.max(x, (1, 2)), "more": x}, free)
    archive.add_endpoint("named", lambda x: {"features": keras.ops.max(x, (1, 2))}, free)
    archive.add_endpoint("pair", lambda x, y: model(x), signature * 2)
    archive.write_out(tmp_path / "model", verbose=False)
    single = model.predict_on_batch(IMAGES[:3])
    for name, expected in (("single", single), ("double", 2 * single)):
        sealed = EncryptedEmbedder(load_saved_model(tmp_path / "model", name)).encrypt(IMAGES[:3], SECRET)
        np.testing.assert_allclose(open_features(sealed, SECRET, expected.shape), expected, rtol=1e-5)
    sealed = EncryptedEmbedder(load_saved_model(tmp_path / "model", "named", (16, 8))).encrypt(IMAGES[:3], SECRET)
    np.testing.assert_array_equal(open_features(sealed, SECRET, (3, 3)), IMAGES[:3].max((1, 2)))
    with pytest.raises(ValueError, match="takes images of any size; pass --image-size HEIGHT WIDTH"):
        load_saved_model(tmp_path / "model", "named")
    with pytest.raises(
        ValueError, match="'pair' of .* must take one batch of images, got .* choose another --endpoint"
    ):
        load_saved_model(tmp_path / "model", "pair")
    with pytest.raises(ValueError, match=r"return one vector \(B, D\), got .*None, 16, 8, 3"):
        EncryptedEmbedder(load_saved_model(tmp_path / "model", "free", (16, 8)))
    with pytest.raises(
        ValueError, match="model cannot be served: The endpoint 'other' is neither .*'single', 'double'"
    ):
        load_saved_model(tmp_path / "model", "other")
