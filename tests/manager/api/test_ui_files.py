"""The web UI's files: who gets them, with which headers, and what stands in for them where they are not built."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from streamforge.manager.api import ui_files
from streamforge.manager.api.app import create_app
from tests.manager.api.support import OPERATOR, READER, REQUEST, TOKENS, client_of, problem
from tests.manager.memory_service import MemoryService

INDEX, SCRIPT = "<!doctype html><title>StreamForge</title>", "export {}"
NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of built files that is served."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "THIRD-PARTY.txt").write_text("svelte (MIT)")
    (folder / "assets" / "index-a1b2c3.js").write_text(SCRIPT)
    monkeypatch.setattr(ui_files, "FOLDER", folder)
    return folder


@pytest.fixture
async def client(built: Path, service: MemoryService) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(service)) as found:
        yield found


@pytest.mark.parametrize("path", ["/ui", "/ui/workflows", "/ui/workflows/wf-x?status=running", "/ui/%2e%2e/secret"])
async def test_every_screen_has_an_address(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.text) == (200, INDEX)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


async def test_what_is_named_by_its_content_is_kept_for_ever(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ui/assets/index-a1b2c3.js")
    assert (answer.status_code, answer.text) == (200, SCRIPT)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await client.get("/ui/THIRD-PARTY.txt")).headers["cache-control"] == "no-cache"
    # The index of another version would not be a script.
    problem(await client.get("/ui/assets/index-000000.js"), 404, "not-found")


async def test_what_a_browser_has_is_not_sent_again(client: httpx.AsyncClient, built: Path) -> None:
    first = await client.get("/ui")
    again = await client.get("/ui", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"] != (await client.get("/ui/THIRD-PARTY.txt")).headers["etag"]
    assert (await client.get("/ui", headers={"If-None-Match": '"other"'})).status_code == 200


async def test_files_are_compressed_for_who_takes_that(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/ui", headers={"Accept-Encoding": "gzip"}) as answer:
        sent = b"".join([part async for part in answer.aiter_raw()])
    assert (gzip.decompress(sent).decode(), answer.headers["content-encoding"]) == (INDEX, "gzip")
    plain = await client.get("/ui", headers={"Accept-Encoding": "identity"})
    assert (plain.text, "content-encoding" in plain.headers, plain.headers["vary"]) == (INDEX, False, "Accept-Encoding")


async def test_the_ui_may_load_what_is_its_own_and_no_answer_of_the_api_anything(client: httpx.AsyncClient) -> None:
    ui, api = (await client.get("/ui")).headers, (await client.get("/queues")).headers
    assert ui["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types svelte-trusted-html streamforge-feed"
    )
    assert api["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert api["cache-control"] == "no-store"
    for headers in (ui, api):
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in headers


async def test_with_tokens_the_files_are_public_and_the_data_are_not(built: Path, service: MemoryService) -> None:
    async with client_of(create_app(service, tokens=TOKENS), base_url="http://manager.example") as stranger:
        assert (await stranger.get("/ui/workflows")).text == INDEX
        problem(await stranger.get("/queues"), 401, "unauthorized")
        problem(await stranger.get("/uix"), 401, "unauthorized")
        problem(await stranger.post("/ui"), 401, "unauthorized")


async def test_without_tokens_another_name_is_refused_here_too(client: httpx.AsyncClient) -> None:
    problem(await client.get("/ui", headers={"Host": "evil.example"}), 403, "forbidden")


@pytest.mark.parametrize("tokens", [None, TOKENS])
async def test_another_site_may_only_lead_to_the_ui(built: Path, service: MemoryService, tokens: object) -> None:
    async with client_of(create_app(service, tokens=TOKENS if tokens else None), OPERATOR) as client:
        assert (await client.get("/ui/workflows", headers=NAVIGATION)).status_code == 200
        for path, headers in (
            ("/queues", NAVIGATION),
            ("/", NAVIGATION),
            ("/queues", {"Sec-Fetch-Site": "cross-site"}),
            ("/ui", NAVIGATION | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}),
            ("/ui", NAVIGATION | {"Sec-Fetch-Dest": "iframe"}),
        ):
            problem(await client.get(path, headers=headers), 403, "forbidden")
        for site in ("same-origin", "none"):
            assert (await client.get("/queues", headers={"Sec-Fetch-Site": site})).status_code == 200
        assert (await client.get("/healthz", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200


async def test_where_it_is_not_built_a_page_says_how_to_build_it(service: MemoryService, tmp_path: Path) -> None:
    files = ui_files.UiFiles(tmp_path)
    scope = {"type": "http", "method": "GET", "headers": [], "path_params": {"name": "workflows"}}
    answer: Response = await files.serve(Request(scope))
    assert (answer.status_code, answer.media_type) == (404, "text/html")
    assert "make ui" in bytes(answer.body).decode()
    (tmp_path / "index.html").write_text(INDEX)  # built meanwhile
    assert bytes((await files.serve(Request(scope))).body).decode() == INDEX


@pytest.mark.parametrize(("token", "role"), [(READER, "reader"), (OPERATOR, "operator")])
async def test_a_token_is_told_what_it_may_do(service: MemoryService, token: str, role: str) -> None:
    async with client_of(create_app(service, tokens=TOKENS), token) as client:
        told = (await client.get("/access")).json()
    assert told["role"] == role
    assert set(told) == {"role", "version"}


async def test_without_tokens_everybody_here_is_an_operator(client: httpx.AsyncClient) -> None:
    assert (await client.get("/access")).json()["role"] == "operator"
    assert (await client.post("/queues/start", json=REQUEST)).status_code == 202


async def test_the_index_of_the_api_leads_to_the_ui(client: httpx.AsyncClient) -> None:
    assert "<a href=/ui>" in (await client.get("/", headers={"Accept": "text/html"})).text
