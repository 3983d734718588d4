"""Answers of a server of objects, or of what stands before it, that a real one of the tests does not give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from streamforge_utils.adapters.object_storage import object_bucket
from streamforge_utils.adapters.object_storage.object_bucket import PART_BYTES, BucketPlace, Keys, ObjectBucket
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.object_store import NoObject

PAGE = "<html><body>default backend - 404</body></html>"
NO_KEY = "<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>m</Message></Error>"
NO_UPLOAD = "<?xml version='1.0'?><Error><Code>NoSuchUpload</Code><Message>m</Message></Error>"
NONE_LISTED = (
    "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
)
UPLOAD = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"


class Server:
    """It lists nothing, begins uploads and takes their parts. Else it answers 404; `says`: with what.

    lists: False: to a list, too.
    """

    def __init__(self) -> None:
        self.says = PAGE
        self.lists = True

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        if "list-type" in request.query and self.lists:
            return web.Response(text=NONE_LISTED, content_type="application/xml")
        if "uploads" in request.query and self.says == NO_UPLOAD:
            return web.Response(text=UPLOAD, content_type="application/xml")
        if "partNumber" in request.query:
            return web.Response(headers={"ETag": '"e"'})
        return web.Response(status=404, text=self.says, content_type="text/html")


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, ObjectBucket]]:
    found, app = Server(), web.Application(client_max_size=2 * PART_BYTES)
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    keys = Keys(access_key=Secret("key"), secret_key=Secret("secret"))
    bucket = ObjectBucket(
        BucketPlace(
            bucket="b", prefix="", endpoint=f"http://{host}:{port}", region="r", path_style=True, keys=lambda: keys
        )
    )
    assert [one async for one in bucket.list()] == [], "the bucket is there"
    yield found, bucket
    await runner.cleanup()


@pytest.mark.parametrize(
    ("says", "size"),
    [(PAGE, 4), (PAGE, PART_BYTES + 1), (NO_KEY, 4), (NO_UPLOAD, PART_BYTES + 1), ("", 4)],
    ids=["another page", "a large one, another page", "no such key", "no such upload", "nothing"],
)
@pytest.mark.parametrize("of_file", [False, True])
async def test_what_a_server_answers_with_404_is_not_stored(
    server: tuple[Server, ObjectBucket], says: str, size: int, of_file: bool, tmp_path: Path
) -> None:
    found, bucket = server
    found.says = says
    content = bytes(size)
    file = tmp_path / "content"
    file.write_bytes(content)
    with pytest.raises(RetryableError, match=r"object a .*(try again|answered)"):
        await bucket.put("a", file if of_file else content)


@pytest.mark.parametrize("page", [PAGE, "404 page not found\n", "default backend - 404"])
async def test_only_a_server_of_objects_says_that_there_is_none(server: tuple[Server, ObjectBucket], page: str) -> None:
    found, bucket = server
    found.says = page
    with pytest.raises(RetryableError, match="the server answered 404"):
        _ = [block async for block in bucket.get("a")]
    with pytest.raises(RetryableError, match="the server answered 404"):
        await bucket.delete(["a"])
    for none in (NO_KEY, ""):
        found.says = none
        with pytest.raises(NoObject):
            _ = [block async for block in bucket.get("a")]


async def test_where_all_answers_are_404_after_a_while_nothing_is_said_to_be_missing(
    server: tuple[Server, ObjectBucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a request for the head alone a proxy without a server behind it answers as a server without the object."""
    found, bucket = server
    assert await bucket.head("a") is None
    found.lists = False
    monkeypatch.setattr(object_bucket, "SEEN_LASTS_S", -1.0)
    with pytest.raises(RetryableError, match="the server answered 404"):
        await bucket.head("a")
