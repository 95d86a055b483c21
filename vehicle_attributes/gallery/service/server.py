"""A gallery over HTTP, and a page for people; the network is loaded once.

    GET  /                         the page
    GET  /gallery                  JSON: what describes the gallery, and its classes
    GET  /exemplars?label=NAME     JSON: number and image of each exemplar of a class, 60 from `start` on
    GET  /image?exemplar=NUMBER    the exemplar's picture, 160 pixels at most, as JPEG
    POST /query                    a form: images, and optionally k and by -> JSON: label and nearest exemplars of each
    POST /add                      a form: images, and label -> JSON: what became of them; files are stored

An error is JSON {"detail": one sentence}. Pages of other sites can neither read nor add: their origin is refused.
"""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from common.datasets.images import read_image
from common.files import about_disk, replacing
from common.service.admission import Admission, Limits, Work
from common.service.images import InMemory, check_sizes, decode, refused

from ..index import Gallery
from ..validation import label_list, unit
from ..voting import WAYS

if TYPE_CHECKING:
    from ...recognizer import Recognizer

_HERE = Path(__file__).parent
_PAGE, _THUMBNAIL, _FIELD = 60, 160, 2**10  # exemplars of an answer, pixels, bytes of a text field
THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def create_app(
    gallery: Gallery,
    recognizer: "Recognizer",
    uploads: Path,
    limits: Limits = Limits(),  # noqa: B008  it cannot be changed
    hosts: Sequence[str] = THIS_MACHINE,
    read_only: bool = False,
) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        gallery: of the network.
        recognizer: the network.
        uploads: folder for added pictures.
        limits: of requests.
        hosts: names and addresses that clients know the server by.
        read_only: whether nothing can be added.
    """
    server = _Server(gallery, recognizer, uploads, limits)
    files = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
    routes = [Route(path, _file(name)) for path, name in files.items()]
    routes += [Route(f"/{name}", getattr(server, name)) for name in ("gallery", "exemplars", "image")]
    routes += [Route(f"/{name}", getattr(server, name), methods=["POST"]) for name in ("query", "add")[: 2 - read_only]]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            Middleware(Admission, limits=limits),
        ],
        exception_handlers={HTTPException: _refusal, Exception: _failure},
    )
    app.router.redirect_slashes = False
    return app


class _Server:
    def __init__(self, gallery: Gallery, recognizer: "Recognizer", uploads: Path, limits: Limits) -> None:
        self._gallery, self._recognizer, self._uploads, self._limits = gallery, recognizer, uploads, limits
        self._work, self._lock = Work(limits), threading.Lock()
        self._size = tuple(recognizer.network.input_shape[1:3])
        self._features(np.zeros((1, *self._size, 3), np.uint8))  # compiles the graph

    async def gallery(self, request: Request) -> Response:
        def describe() -> dict[str, Any]:
            with self._lock:
                self._gallery.refresh()
                head, classes = self._gallery.head, self._gallery.classes
            names = ("attribute", "exemplars", "threshold", "is_stale")
            return {**{name: getattr(head, name) for name in names}, "classes": classes, "ways": list(WAYS)}

        return _json(await asyncio.to_thread(describe))

    async def exemplars(self, request: Request) -> Response:
        label, start = request.query_params.get("label", ""), _number(request, "start", 0)

        def chosen() -> list[dict[str, Any]]:
            with self._lock:
                listed = self._gallery.exemplars_of(label, start, _PAGE)
            return [{"exemplar": number, "image": path} for number, path in listed]

        return _json(await asyncio.to_thread(chosen))

    async def image(self, request: Request) -> Response:
        number = _number(request, "exemplar", -1)

        def picture() -> bytes:
            with self._lock:
                path = self._gallery.path_of(number)
            if path is None:
                raise refused("There is no such exemplar.", 404)
            try:
                image = read_image(path)
            except ValueError:
                raise refused("The exemplar's picture is not where it was; see relocate.", 404) from None
            scale = min(1.0, _THUMBNAIL / max(image.shape[:2]))
            size = [max(1, round(scale * n)) for n in image.shape[1::-1]]
            return cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1])[1].tobytes()

        return Response(await asyncio.to_thread(picture), media_type="image/jpeg", headers=_HEADERS)

    async def query(self, request: Request) -> Response:
        files, names, fields = await self._form(request, {"k": "5", "by": "nearest"})
        if not fields["k"].isdecimal() or not 1 <= int(fields["k"]) <= 100 or fields["by"] not in WAYS:
            raise refused(f"k must be from 1 to 100, and by one of {', '.join(WAYS)}.")

        def work(go_on: Callable[[], None]) -> dict[str, Any]:
            features = self._embed(files, go_on)
            with self._lock:
                try:
                    answers = self._gallery.query(features, int(fields["k"]), by=fields["by"])  # type: ignore[arg-type]
                except ValueError as error:  # the gallery is empty, or its file is gone
                    raise refused(str(error), 409) from None
                head = self._gallery.head
            limit = None if fields["by"] == "class_means" else head.threshold
            near = zip(answers.labels.tolist(), answers.distances.tolist(), answers.ids.tolist())
            images = [
                {
                    "image": name,
                    "label": str(label),
                    "nearest": [dict(zip(("label", "distance", "exemplar"), one)) for one in zip(*each)],
                }
                for name, label, each in zip(names, answers.recognized, near)
            ]
            stale = head.is_stale and limit is not None
            return {"threshold": limit, "threshold_is_stale": stale, "images": images}

        return _json(await self._run(request, files, work))

    async def add(self, request: Request) -> Response:
        files, names, fields = await self._form(request, {"label": ""})
        try:
            label_list(fields["label"], 1)
        except ValueError as error:
            raise refused(str(error)) from None

        def work(go_on: Callable[[], None]) -> dict[str, Any]:
            features = self._embed(files, go_on)
            digests = [hashlib.sha256(file).digest() for file in files]
            with self._lock:
                self._uploads.mkdir(parents=True, exist_ok=True)
                known = self._gallery.labels_of(set(digests))
                for name, other in zip(names, map(known.get, digests)):
                    if other not in (None, fields["label"]):
                        raise refused(f"{name} is an exemplar of {other!r}; remove it first, or leave it out.")
                new = [i for i, d in enumerate(digests) if d not in known and d not in digests[:i]]
                paths = [self._uploads / f"{digests[i].hex()}{'.png' if files[i][:4] == _PNG else '.jpg'}" for i in new]
                for i, path in zip(new, paths):
                    with replacing(path) as temporary:
                        temporary.write_bytes(files[i])
                if new:
                    texts = [str(path.absolute()) for path in paths]
                    try:
                        self._gallery.add(features[new], fields["label"], texts, [digests[i] for i in new])
                    except ValueError as error:
                        raise refused(str(error)) from None
                    self._calibrate()
                return {"added": len(new), "already": len(files) - len(new), "exemplars": len(self._gallery)}

        try:
            return _json(await self._run(request, files, work))
        except OSError as error:
            raise refused(about_disk(error) or "The pictures could not be stored.", 507) from None

    def _calibrate(self) -> None:
        head = self._gallery.head
        if head.is_stale and head.by_exemplars and head.accept is not None:
            with contextlib.suppress(ValueError):  # too few; it stays stale, and answers say so
                self._gallery.calibrate(head.accept)

    def _embed(self, files: list[bytes], go_on: Callable[[], None]) -> np.ndarray:
        features = self._features(decode(files, self._size, go_on))  # type: ignore[arg-type]
        try:
            return unit(features, names=[f"image {i}" for i in range(len(files))])
        except ValueError as error:
            raise refused(str(error)) from None

    def _features(self, images: np.ndarray) -> np.ndarray:
        with self._lock:
            return np.asarray(self._recognizer.network.predict_on_batch(images)["embedding"], np.float32)

    async def _run(self, request: Request, files: list[bytes], work: Callable[[Callable[[], None]], Any]) -> Any:
        pixels = await asyncio.to_thread(check_sizes, files, self._limits.max_pixels)
        return await self._work.run(request, pixels, work)

    async def _form(self, request: Request, defaults: dict[str, str]) -> tuple[list[bytes], list[str], dict[str, str]]:
        """Image files, their names, and text fields."""
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            raise refused("Pages of other sites may not do this.", 403)
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise refused("The body must be a form, multipart/form-data, with files in the field images.", 415)
        limits = {"max_files": self._limits.max_images, "max_fields": len(defaults), "max_part_size": _FIELD}
        try:
            form = await InMemory(request.headers, request.stream(), **limits).parse()  # type: ignore[arg-type]
        except (MultiPartException, ValueError):
            raise refused(
                "The form is none that the server understands, or has too many images or fields.", 400
            ) from None
        files = [value for value in form.getlist("images") if isinstance(value, UploadFile)]
        if not files:
            raise refused("The form has no images; send files in the field images.")
        fields = {name: str(form.get(name, value)) for name, value in defaults.items()}
        return [await file.read() for file in files], [file.filename or "" for file in files], fields


_PNG = b"\x89PNG"


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if len(text) > 18 or not (text.isdecimal() or text == str(default)):
        raise refused(f"{name} must be a whole number.")
    return int(text)


def _file(name: str) -> Callable[[Request], Any]:
    async def send(request: Request) -> Response:
        return FileResponse(_HERE / name, headers=_HEADERS)

    return send


def _json(content: Any, status: int = 200) -> Response:
    return JSONResponse(content, status, _HEADERS)


async def _refusal(request: Request, error: HTTPException) -> Response:
    sentences = {404: "There is no such page.", 405: "This page takes another method."}
    detail = error.detail if error.detail not in ("Not Found", "Method Not Allowed") else sentences[error.status_code]
    return JSONResponse({"detail": detail}, error.status_code, {**_HEADERS, **(error.headers or {})})


async def _failure(request: Request, error: Exception) -> Response:
    return _json({"detail": "The server failed; its log says where."}, 500)
