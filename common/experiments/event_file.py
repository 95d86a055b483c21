"""TensorBoard's file of a training: the columns of `log.csv`. Keras' own callback needs TensorFlow."""

import os
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from common.files import replacing


class EventFile:
    """Has each epoch once, whenever a training was killed.

    Args:
        folder: of the training.
    """

    def __init__(self, folder: Path):
        self._path, self._epochs = folder / "tensorboard" / "events.out.tfevents.0", 0

    def write(self, log: Sequence[Mapping[str, float]]) -> None:
        """Brings the file up to a log of all epochs so far: anew at first, then by what is new, where a reader goes on.

        Raises:
            OSError: the disk is full, or may not be written to; it names the file.
        """
        new = b"".join(_record(row) for row in log[self._epochs :])
        if self._epochs == 0:
            self._path.parent.mkdir(exist_ok=True)
            with replacing(self._path) as temporary:
                temporary.write_bytes(_framed(Event(wall_time=time.time(), file_version="brain.Event:2")) + new)
        else:
            try:
                with self._path.open("ab") as file:
                    file.write(new)
            except OSError as error:
                raise OSError(error.errno, os.strerror(error.errno or 0), str(self._path)) from error
        self._epochs = len(log)


def _record(row: Mapping[str, float]) -> bytes:
    values = {name: value for name, value in row.items() if name != "epoch"}
    step, now = int(row["epoch"]), time.time()
    return b"".join(_framed(Event(wall_time=now, step=step, summary=scalar(n, v))) for n, v in values.items())


def _framed(event: Event) -> bytes:
    """An event as a record of TensorFlow: its length and its bytes, each with a checksum."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
