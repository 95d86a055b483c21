"""Features of images from a server, into a file that is sealed under a key of yours.

python -m PROJECT.service embed URL IMAGE... [--out features.sealed] [--key-file features.key]
python -m PROJECT.service open features.sealed [--out features.npz]
python -m PROJECT.service rotate-key FILE... --new-key-file FILE
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from common.experiments.config import run_command

from ..cipher.private_files import create_key, load_key, read_private, write_private
from ..cipher.sealed import open_sealed, seal
from .client import Client
from .protocol import SEALED, CipherName

_CONTEXT = b"file of features 1"


@dataclass(frozen=True)
class Embed:
    """Writes the features of images to a sealed file, with the arrays paths and features in it."""

    url: tyro.conf.Positional[str]  # of the server
    images: tyro.conf.Positional[tuple[Path, ...]]  # JPEG or PNG files
    out: Path = Path("features.sealed")  # file to write
    key_file: Path = Path("features.key")  # of the key that seals it; made if there is none
    cipher: CipherName = SEALED  # of the server; shufflebits: the publication's, which a few vectors break
    tls_ca: Path | None = None  # PEM file of the authority that signed the server's certificate
    insecure_http: bool = False  # http:// beyond this machine, where others can read images, keys and features

    def run(self) -> str:
        key = load_key(self.key_file) if self.key_file.exists() else create_key(self.key_file)
        client = Client(self.url, self.cipher, tls_ca=self.tls_ca, insecure_http=self.insecure_http)
        features = client.embed(self.images)
        content = io.BytesIO()
        np.savez(content, paths=[str(path) for path in self.images], features=features)
        write_private(self.out, seal(content.getvalue(), key, _CONTEXT))
        return f"{len(features)} × {features.shape[1]} features: {self.out}, sealed under {self.key_file}"


@dataclass(frozen=True)
class Open:
    """Writes a sealed file's features to an npz file, in the clear."""

    file: tyro.conf.Positional[Path]  # sealed file
    out: Path = Path("features.npz")  # file to write, which only you can read
    key_file: Path = Path("features.key")  # of the key that sealed it

    def run(self) -> str:
        write_private(self.out, open_file(self.file, load_key(self.key_file)))
        return f"{self.out} has the features in the clear."


@dataclass(frozen=True)
class RotateKey:
    """Seals files under a new key, each in one step; the same command goes on where it was stopped."""

    files: tyro.conf.Positional[tuple[Path, ...]]  # sealed files
    new_key_file: Path  # of the new key; made if there is none
    key_file: Path = Path("features.key")  # of the key that sealed them

    def run(self) -> str:
        old = load_key(self.key_file)
        new = load_key(self.new_key_file) if self.new_key_file.exists() else create_key(self.new_key_file)
        if new == old:
            raise ValueError(f"{self.new_key_file} has the key of {self.key_file}; pass another --new-key-file.")
        for file in self.files:
            try:
                content = open_file(file, old)
            except ValueError:
                open_file(file, new)  # of an earlier run
            else:
                write_private(file, seal(content, new, _CONTEXT))
        return f"{len(self.files)} files are sealed under {self.new_key_file}; delete {self.key_file} and its copies."


def open_file(path: Path, key: bytes) -> bytes:
    """Content of a sealed file: that of an npz file with the arrays paths and features.

    Raises:
        ValueError: there is none, others can open it, it was altered, or the key is another one.
    """
    sealed = read_private(path)
    try:
        return open_sealed(sealed, key, _CONTEXT)
    except ValueError:
        raise ValueError(f"{path} is no sealed file of features, was altered, or another key sealed it.") from None


def main() -> None:
    """Command line."""
    commands = {"embed": Embed, "open": Open, "rotate-key": RotateKey}
    print(tyro.extras.subcommand_cli_from_dict(commands).run())


if __name__ == "__main__":
    run_command(main)
