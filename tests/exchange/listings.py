"""A client of the archive's listing, by both of its versions."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.exchange.conftest import Peer

S3 = "{http://s3.amazonaws.com/doc/2006-03-01/}"


async def page(exchange: Peer, path: str = "/", /, **query: object) -> ElementTree.Element:
    answer = await exchange.get(path, **{name.replace("_", "-"): value for name, value in query.items()})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/xml"), answer.body
    return ElementTree.fromstring(answer.body)


def texts(root: ElementTree.Element, path: str) -> list[str]:
    return [one.text or "" for one in root.findall("/".join(S3 + name for name in path.split("/")))]


async def keys(exchange: Peer, **query: object) -> list[str]:
    """All keys and folders of a listing, by its second version."""
    found: list[str] = []
    more: dict[str, object] = {}
    while True:
        root = await page(exchange, list_type=2, **query, **more)
        on_page = texts(root, "Contents/Key") + texts(root, "CommonPrefixes/Prefix")
        assert texts(root, "KeyCount") == [str(len(on_page))]
        found += on_page
        tokens = texts(root, "NextContinuationToken")
        more = {"continuation_token": tokens[0]} if tokens else {}
        assert texts(root, "IsTruncated") == ["true" if more else "false"]
        if not more:
            return found
