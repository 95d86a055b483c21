"""The command that serves a gallery."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from common.service.admission import Limits
from common.service.connection import Server, listen, settings, url_of

from ..index import Gallery
from ..ingest import load
from .server import THIS_MACHINE, create_app


@dataclass(frozen=True)
class Serve:
    """Serves a gallery over HTTP, with a page to browse classes, add exemplars and drop a picture on."""

    gallery: tyro.conf.Positional[Path]  # file that build wrote
    training: Path  # folder of the training that it was built with
    uploads: Path | None = None  # folder for added pictures; default: GALLERY.uploads
    read_only: bool = False  # nothing can be added
    host: str = "127.0.0.1"  # address to listen on; others than this machine's need --insecure-http
    port: int = 8000  # 0: a free one
    hosts: tuple[str, ...] = ()  # names by which clients know the server, next to those of this machine and the address
    insecure_http: bool = False  # beyond this machine, where TLS and passwords are in front of the server
    whole_images: bool = False  # where a network was trained on boxes: the images show nothing but the vehicle
    limits: tyro.conf.OmitArgPrefixes[Limits] = Limits(max_images=64)

    def run(self) -> None:
        if self.host not in ("127.0.0.1", "::1", "localhost") and not self.insecure_http:
            raise ValueError(
                f"On {self.host} anybody could read and change the gallery; pass --insecure-http where TLS and "
                "passwords are in front of this server."
            )
        listener = listen(self.host, self.port)  # before the network is loaded, which takes a while
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn catches them, shuts down, and raises them anew
            signal.signal(number, lambda *_: sys.exit(0))
        recognizer = load(self.training)
        if recognizer.takes_boxes and not self.whole_images:
            raise ValueError(
                "The network was trained on boxes cut out of images, which the page does not draw; pass --whole-images "
                "where nothing but the vehicle is in pictures."
            )
        gallery = Gallery(self.gallery, recognizer.fingerprint)
        uploads = self.uploads or self.gallery.with_name(f"{self.gallery.name}.uploads")
        hosts = (*THIS_MACHINE, self.host, *self.hosts)
        app = create_app(gallery, recognizer, uploads, self.limits, hosts, self.read_only)
        print(f"{self.gallery}: {len(gallery)} exemplars on {url_of(listener)}; Ctrl+C ends it.", flush=True)
        Server(settings(app, self.limits)).run([listener])
