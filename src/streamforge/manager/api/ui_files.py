"""The web UI's files below `/ui`, as `make ui` builds them. They hold no data and need no token: the API does."""

from __future__ import annotations

import gzip
import hashlib
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from streamforge.manager.api.compression import accepts_gzip

PATH = "/ui"
FOLDER = files("streamforge") / "web" / "dist"
_INDEX = "index.html"
_NAMED_BY_CONTENT = "assets/"
"""The folder of files whose names hold a hash of their content."""

_SCRIPT = re.compile(r'src="[^"]*/([^"/]+\.js)"')

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types svelte-trusted-html streamforge-feed"
)
"""Of the UI's pages. Svelte makes elements of its own templates by a policy of that name, and the script that reads the
feed is named by the other one; data never go through them."""

_NOT_BUILT = """<!doctype html><html lang=en><meta charset=utf-8><title>StreamForge</title>
<h1>The web UI is not built</h1>
<p>This queue-manager runs from a checkout. Build the UI there, then load this page again:<pre>make ui</pre>
<p>All that it shows is also in <a href=/>the API</a> and on the command line: <code>streamforge queues</code>."""


class _File(msgspec.Struct, frozen=True):
    """content: as it is, and compressed."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str
    cache_control: str


class UiFiles:
    """The files of a folder, read when the first of them is asked for."""

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}

    def find(self, name: str) -> _File | None:
        """The file, or the index for the address of a screen; None: there is no such file, or nothing is built."""
        if not self._files and (self._folder / _INDEX).is_file():
            self._files = {path: _file(path, content) for path, content in _contents(self._folder)}
        return self._files.get(name) or (None if name.startswith(_NAMED_BY_CONTENT) else self._files.get(_INDEX))

    async def serve(self, request: Request) -> Response:
        """The answer to a GET."""
        found = self.find(request.path_params.get("name", ""))
        if found is None and not self._files:
            return HTMLResponse(_NOT_BUILT, 404)
        if found is None:
            raise HTTPException(404)
        headers = {
            "Content-Security-Policy": _POLICY,
            "Cache-Control": found.cache_control,
            "ETag": found.etag,
            "Vary": "Accept-Encoding",
        }
        if found.etag in [
            tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
        ]:
            return Response(status_code=304, headers=headers)
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(found.compressed, 200, {**headers, "Content-Encoding": "gzip"}, found.media_type)
        return Response(found.content, 200, headers, found.media_type)


def script() -> str | None:
    """The name of the script that the UI's page loads, which changes with each build; None: nothing is built."""
    index = FOLDER / _INDEX
    found = _SCRIPT.search(index.read_text("utf-8")) if index.is_file() else None
    return found and found[1]


def is_ui(path: str) -> bool:
    """Whether the path is one of the UI's."""
    return path == PATH or path.startswith(PATH + "/")


def routes() -> list[Route]:
    """What serves `/ui` and all below it; OpenAPI does not describe it."""
    serve = UiFiles(FOLDER).serve
    paths = (PATH, PATH + "/{name:path}")
    return [Route(path, serve, methods=["GET"], include_in_schema=False) for path in paths]


def _contents(folder: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _contents(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _file(path: str, content: bytes) -> _File:
    return _File(
        content=content,
        compressed=gzip.compress(content, 9, mtime=0),
        media_type=_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream"),
        etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        cache_control="public, max-age=31536000, immutable" if path.startswith(_NAMED_BY_CONTENT) else "no-cache",
    )
