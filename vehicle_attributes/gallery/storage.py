"""The file of a gallery: an SQLite database, of which a process that is killed at any moment leaves the old or the new.

Rewriting an npz file of a million exemplars of 256 dimensions takes 1.5 s for each addition, and as much room again; a
transaction that adds 100 takes 2 ms, and reading all of them 0.5 s either way. Exemplars are stored in small blocks,
which few rows can be read from. SQLite does not notice a flipped bit, so that each block has a checksum.
"""

import contextlib
import json
import secrets
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from common.files import replacing

from .validation import NO_GALLERY, damaged, explaining, unless_in_use

APPLICATION, VERSION = 0x76A6A11E, 2  # in SQLite's header, which galleries are recognized by
_BLOCK_BYTES = 2**18  # of features; a removal writes the blocks anew that it touches
_DIGEST = 32  # bytes; zeros where it is not known


@dataclass(frozen=True)
class Head:
    """What describes a gallery.

    Attributes:
        attribute: what its labels are, such as `make`.
        fingerprint: of the network that made the features.
        dimensions: D.
        exemplars: N.
        next_id: number of the exemplar that is added next; none is given twice.
        threshold: cosine distance beyond which a query is of no known class; None rejects nothing.
        accept: the share of known ones that the threshold was set for; None: it was given as a number.
        by_exemplars: whether it was set by the exemplars' distances to each other.
        is_stale: whether exemplars were added or removed since.
        state: random, another one after each change, so that equal states mean equal contents.
    """

    attribute: str
    fingerprint: str
    dimensions: int
    exemplars: int = 0
    next_id: int = 0
    threshold: float | None = None
    accept: float | None = None
    by_exemplars: bool = False
    is_stale: bool = False
    state: str = ""


@dataclass(frozen=True, eq=False)
class Block:
    """Some exemplars: `ids` (n,) int64, `labels`, `paths`, `digests` of 32 bytes or none, features (n, D) float32."""

    number: int
    ids: np.ndarray
    labels: list[str]
    paths: list[str]
    digests: list[bytes]
    features: np.ndarray


def create(
    path: Path,
    head: Head,
    labels: Sequence[str],
    paths: Sequence[str],
    digests: Sequence[bytes],
    features: np.ndarray,
    overwrite: bool,
) -> None:
    """Writes a gallery in one rename.

    Raises:
        ValueError: there is a file, and it is not to be overwritten; or the disk is full.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists; pass overwrite to replace it, or choose another path.")
    if not path.parent.is_dir():
        raise ValueError(f"The folder {path.parent} of the gallery does not exist; make it, or choose another path.")
    with replacing(path) as temporary, explaining(path):
        temporary.unlink(missing_ok=True)  # left by a process that was killed
        with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            # Nobody sees the file before it is whole, so a journal of it is of no use.
            for pragma in ("page_size = 16384", "journal_mode = OFF", "synchronous = OFF"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE head (content BLOB, checksum INTEGER)")
            connection.execute(
                "CREATE TABLE blocks (number INTEGER PRIMARY KEY, size INTEGER, ids BLOB, labels BLOB, paths BLOB, "
                "digests BLOB, features BLOB, checksum INTEGER)"
            )
            connection.execute("INSERT INTO head VALUES (NULL, NULL)")
            append(connection, np.arange(len(features)), labels, paths, digests, features)
            write_head(connection, replace(head, exemplars=len(features), next_id=len(features)))
            connection.execute("COMMIT")
        _forget_journal(path)


def move(part: Path, path: Path) -> None:
    """Puts the gallery of one file in the place of another one, in one rename."""
    with transaction(part, writing=True):  # nobody else is at it, and nothing half-done is left
        pass
    _forget_journal(path)
    part.replace(path)


def _forget_journal(path: Path) -> None:
    """SQLite would take a journal of an earlier file of this name for one of the new file, and apply it."""
    if path.exists():
        with unless_in_use(), transaction(path):  # takes back what a killed process left half-done
            pass
    path.with_name(path.name + "-journal").unlink(missing_ok=True)


@contextlib.contextmanager
def transaction(path: Path, writing: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection within a transaction, which is committed at the end and rolled back by an error.

    Raises:
        InUseError: another process writes for longer than 30 s.
        ValueError: the file is missing, foreign, of another version or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no gallery {path}; build one first.")
    with explaining(path):
        # A connection for each transaction: it holds nothing between them, and works from any thread or process.
        address = f"{path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(address, 30, uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")  # what was committed outlives a loss of power, too
            connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
            _check_kind(path, connection)
            yield connection
            connection.execute("COMMIT")


def _check_kind(path: Path, connection: sqlite3.Connection) -> None:
    (application,), (version,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != APPLICATION:
        raise ValueError(NO_GALLERY.format(path=path))
    if version != VERSION:
        raise ValueError(
            f"Galleries of version {VERSION} are read, got version {version} in {path}; build it again, or update this "
            "package."
        )


def check(path: Path, connection: sqlite3.Connection) -> None:
    """Raises ValueError if the structure of the database is damaged; contents have checksums of their own."""
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise damaged(path, " ".join(str(answer).split()))


def read_head(path: Path, connection: sqlite3.Connection) -> Head:
    """Raises ValueError if it is damaged."""
    rows = connection.execute("SELECT content, checksum FROM head").fetchall()
    try:
        ((content, checksum),) = rows
        if zlib.crc32(content) != checksum:
            raise ValueError("its checksum is another one")
        return Head(**json.loads(content))
    except (TypeError, ValueError) as error:
        raise damaged(path, f"its head cannot be read: {error}") from error


def write_head(connection: sqlite3.Connection, head: Head) -> Head:
    """Writes and returns it with a new state."""
    head = replace(head, state=secrets.token_hex(16))
    content = json.dumps(asdict(head)).encode()
    connection.execute("UPDATE head SET content = ?, checksum = ?", (content, zlib.crc32(content)))
    return head


def read_blocks(
    path: Path, connection: sqlite3.Connection, dimensions: int, numbers: Sequence[int] | None = None
) -> Iterator[Block]:
    """Blocks in order of adding: those of the numbers, or all.

    Raises:
        ValueError: one is damaged.
    """
    chosen = [(int(number), int(number)) for number in numbers] if numbers is not None else [(0, 2**62)]
    query = "SELECT * FROM blocks WHERE number BETWEEN ? AND ? ORDER BY number"
    for number, size, *parts, checksum in (row for pair in chosen for row in connection.execute(query, pair)):
        try:
            if _checksum(number, size, *parts) != checksum:
                raise ValueError("its checksum is another one")
            digests = [parts[3][i * _DIGEST : (i + 1) * _DIGEST] for i in range(size)]
            digests = [digest if any(digest) else b"" for digest in digests]
            features = np.frombuffer(parts[4], "<f4").reshape(size, dimensions)
            names = json.loads(parts[1]), json.loads(parts[2])
            yield Block(number, np.frombuffer(parts[0], "<i8"), *names, digests, features)
        except (TypeError, ValueError) as error:
            raise damaged(path, f"block {number} cannot be read: {error}") from error


def read_rows(connection: sqlite3.Connection, number: int, places: np.ndarray, dimensions: int) -> np.ndarray:
    """Features (R, D) float32 of some places in a block, without its checksum."""
    rows = np.empty((len(places), dimensions), np.float32)
    with connection.blobopen("blocks", "features", number, readonly=True) as blob:
        if 4 * len(places) >= len(blob) // (4 * dimensions):  # many of them: at once
            return np.frombuffer(blob.read(), "<f4").reshape(-1, dimensions)[places]
        for row, place in zip(rows, places):
            blob.seek(4 * dimensions * int(place))
            row[:] = np.frombuffer(blob.read(4 * dimensions), "<f4")
    return rows


def read_paths(path: Path, connection: sqlite3.Connection, number: int) -> list[str]:
    """The paths of a block."""
    (content,) = connection.execute("SELECT paths FROM blocks WHERE number = ?", (number,)).fetchone()
    try:
        return json.loads(content)
    except ValueError as error:
        raise damaged(path, f"block {number} cannot be read: {error}") from error


def append(
    connection: sqlite3.Connection,
    ids: np.ndarray,
    labels: Sequence[str],
    paths: Sequence[str],
    digests: Sequence[bytes],
    features: np.ndarray,
) -> list[tuple[int, int]]:
    """Adds exemplars in new blocks; returns number and size of each."""
    last = connection.execute("SELECT max(number) FROM blocks").fetchone()[0] or 0
    step, added = max(1, _BLOCK_BYTES // (4 * features.shape[1])), []
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        names = (list(part[rows]) for part in (labels, paths, digests))
        block = Block(last + len(added) + 1, ids[rows], *names, features[rows])
        write_block(connection, block)
        added.append((block.number, len(block.labels)))
    return added


def write_block(connection: sqlite3.Connection, block: Block) -> None:
    """Adds a block, or replaces the one of its number; an empty one is removed."""
    if not block.labels:
        connection.execute("DELETE FROM blocks WHERE number = ?", (block.number,))
        return
    # As bytes, which SQLite hands back whatever has become of them.
    labels, paths = (json.dumps(names).encode() for names in (block.labels, block.paths))
    ids, features = (np.ascontiguousarray(array, kind) for array, kind in ((block.ids, "<i8"), (block.features, "<f4")))
    digests = b"".join(digest or bytes(_DIGEST) for digest in block.digests)
    row = block.number, len(block.labels), ids.tobytes(), labels, paths, digests, features.tobytes()
    connection.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, _checksum(*row)))


def _checksum(number: int, size: int, *parts: bytes) -> int:
    # With the lengths, or bytes could go from one part to the next unnoticed.
    checksum = zlib.crc32(f"{number} {size} {[len(part) for part in parts]}".encode())
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum
