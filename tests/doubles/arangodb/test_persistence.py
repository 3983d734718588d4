"""Killed and started again, the double has all that it answered for."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from tests.doubles.arangodb.conftest import asking
from tests.doubles.arangodb.revisions import ALPHABET
from tests.limits import LIMIT_S
from tests.places import ROOT


@asynccontextmanager
async def running(data: Path, *options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A double in a process of its own, and its address; killed at the end."""
    command = [sys.executable, "-m", "tests.doubles.arangodb", "--data", str(data), *options]
    environ = os.environ | {"ARANGO_ROOT_PASSWORD": "secret"}
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout
        async with asyncio.timeout(LIMIT_S):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def number(revision: str) -> list[int]:
    """Its digits, which do not sort as their characters do."""
    return [ALPHABET.index(digit) for digit in revision]


async def test_what_was_answered_survives_a_kill(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    data = tmp_path / "data"
    async with running(data) as (process, url):
        ask = asking(session, url)
        await ask("POST", "/_api/database", {"name": "other"})
        await ask("POST", "/_db/other/_api/collection", {"name": "c", "waitForSync": True})
        index = {"type": "persistent", "fields": ["n"], "unique": True, "name": "by_n"}
        await ask("POST", "/_db/other/_api/index?collection=c", index)
        documents = [{"_key": f"k{n}", "n": n} for n in range(2000)]
        await ask("POST", "/_db/other/_api/document/c", documents)
        _, generated = await ask("POST", "/_db/other/_api/document/c", {"n": -1})
        _, before = await ask("PATCH", "/_db/other/_api/document/c/k7", {"more": [1, {"x": None}]})
        await ask("DELETE", "/_db/other/_api/document/c/k8")
        await ask("POST", "/_api/user", {"user": "alice", "passwd": "wonder"})
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async with running(data) as (_, url):
        ask = asking(session, url)
        assert (await ask("GET", "/_db/other/_api/collection/c/count"))[1]["count"] == 2000
        status, found = await ask("GET", "/_db/other/_api/document/c/k7")
        assert (status, found["_rev"], found["more"]) == (200, before["_rev"], [1, {"x": None}])
        assert (await ask("GET", "/_db/other/_api/document/c/k8"))[0] == 404
        status, refused = await ask("POST", "/_db/other/_api/document/c", {"n": 7})
        assert (status, refused["errorNum"]) == (409, 1210)
        assert "in index by_n" in refused["errorMessage"]
        _, next_one = await ask("POST", "/_db/other/_api/document/c", {"n": -2})
        assert int(next_one["_key"]) > int(generated["_key"])
        assert number(next_one["_rev"]) > number(before["_rev"])
        assert (await ask("GET", "/_db/other/_api/collection/c/properties"))[1]["waitForSync"] is True
        assert (await ask("POST", "/_open/auth", {"username": "alice", "password": "wonder"}))[0] == 200


async def test_killed_in_the_middle_of_writes_it_has_whole_requests(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    data = tmp_path / "data"
    answered = 0
    async with running(data) as (process, url):
        ask = asking(session, url)
        await ask("POST", "/_api/collection", {"name": "c"})

        async def writing() -> None:
            nonlocal answered
            for batch in range(1000):
                body = [{"_key": f"{batch}-{n}"} for n in range(100)]
                assert (await ask("POST", "/_api/document/c", body))[0] == 202
                answered = batch + 1
                if answered == 5:
                    process.send_signal(signal.SIGKILL)

        with suppress(aiohttp.ClientError):
            await writing()
        await process.wait()

    assert answered >= 5
    async with running(data) as (_, url):
        count = (await asking(session, url)("GET", "/_api/collection/c/count"))[1]["count"]
        assert count in (answered * 100, answered * 100 + 100)


async def test_it_ends_in_order_on_a_signal(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
