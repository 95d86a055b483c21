"""The form of a request, read strictly; no error quotes what came."""

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from common.service.images import InMemory, refused

_FORM = "The body must be a form, multipart/form-data: files in the field images, 64 hex digits in the field key."
_KEY_DIGITS = 64


async def read_form(request: Request, max_images: int) -> tuple[list[bytes], bytes]:
    """The image files and the key, 32 bytes.

    Raises:
        HTTPException: the request lacks something, or has too much or something else.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise refused(_FORM, 415)
    parser = InMemory(request.headers, request.stream(), max_files=max_images, max_fields=1, max_part_size=_KEY_DIGITS)
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:  # the latter of charsets that Python knows and cannot use
        if isinstance(error, MultiPartException) and error.message.startswith("Too many files"):
            raise refused(f"A request may have {max_images} images, got more; send several.", 413) from None
        raise refused(_FORM, 400) from None
    files, keys = form.getlist("images"), form.getlist("key")
    are_files = files and all(isinstance(file, UploadFile) for file in files)
    if not are_files or len(form.multi_items()) != len(files) + 1 or not keys or not isinstance(keys[0], str):
        raise refused(_FORM)
    try:
        key = bytes.fromhex(keys[0])
    except ValueError:
        key = b""
    if len(key) != _KEY_DIGITS // 2:
        raise refused(f"The field key must have {_KEY_DIGITS} hex digits, got something else.")
    return [await file.read() for file in files], key
