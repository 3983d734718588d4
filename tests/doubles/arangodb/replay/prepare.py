"""Bringing a double to the state in which a request was recorded, over HTTP; and the names of that state.

Numbers and revisions that the real server made up are bound to those that the double makes up.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from tests.doubles.arangodb.collections import DOCUMENTS, EDGES
from tests.doubles.arangodb.dispatch import FAMILIES
from tests.doubles.arangodb.replay.examples import EXAMPLE_GRAPHS
from tests.doubles.arangodb.replay.lines import REVISION, Pair, family_of

ROOT = {"authorization": "Basic " + base64.b64encode(b"root:").decode()}
STALE = "_aaaaaaaaaa"


class SetupFailed(Exception):
    """A step of a setup that the double refused."""


class NotReplayable(Exception):
    """The recording names what the double, or this replay, does not know: the message says what."""


class Answer:
    """What the double answered: status, headers by lower-case name (more than one joined by a line), body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


class Stage:
    """One double and what was done on it: makes the setup, then sends the recorded request."""

    def __init__(self, url: str, session: aiohttp.ClientSession, pair: Pair) -> None:
        self._url = url
        self._session = session
        self._pair = pair
        self._collections: list[str] = []
        self._indexes: list[str] = []
        self._cursor: str | None = None
        self._database = ""

    async def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        url = self._url + (self._database + path if not path.startswith("/_db/") else path)
        sent = ROOT if headers is None else headers
        async with self._session.request(method, url, data=data, headers=sent) as response:
            names = {name.lower() for name in response.headers}
            found = {name: "\n".join(response.headers.getall(name)) for name in names}
            return Answer(response.status, found, await response.read())

    async def _must(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.call(method, path, body)
        if answer.status >= 400:
            raise SetupFailed(f"{method} {path}: {answer.status} {answer.body[:200].decode(errors='replace')}")
        return answer.json()

    async def prepare(self) -> None:
        """Make all steps of the setup. Raises SetupFailed, NotReplayable."""
        for step in self._pair.setup:
            make = self._steps().get(step["op"])
            if make is None:
                raise NotReplayable(f"an unknown step of a setup: {step['op']}")
            await make(step)

    async def ask(self) -> Answer:
        """Send the recorded request, its names bound."""
        pair = self._pair
        path = await self._bound_path(pair.path)
        headers = {name: value for name, value in pair.headers.items() if name != "accept"}
        named = re.search(r"request header ([A-Za-z-]+): (<[^>]*>|\S+)", pair.note)
        if named:
            headers[named.group(1).lower()] = named.group(2)
        for name in ("if-match", "if-none-match"):
            if name in headers:
                headers[name] = await self._bound_revision(headers[name], path)
        body = await self._bound_body(pair.body, path)
        return await self.call(pair.method, path, body, headers | self._credentials())

    def _credentials(self) -> dict[str, str]:
        """Those of root, but for a refusal by the authentication itself."""
        pair = self._pair
        if "authorization" in pair.headers or pair.status != 401:
            return {} if "authorization" in pair.headers else ROOT
        if "JWT" in pair.note:
            unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
            return {"authorization": f"bearer {unsigned}.{unsigned}."}
        return {}

    # --- names

    async def _bound_path(self, path: str) -> str:
        route, question, query = path.partition("?")
        parts = route.split("/")
        last = parts[-1]
        if "/_api/cursor/" in route and self._cursor:
            parts[parts.index("cursor") + 1] = self._cursor
        elif "/_api/collection/" in route and self._collections:
            place = parts.index("collection") + 1
            if _made_up(parts[place]):
                found = await self._must("GET", f"/_api/collection/{self._collections[-1]}")
                parts[place] = found["id"]
        elif "/_api/index/" in route and _made_up(last) and self._indexes:
            parts[-1] = self._indexes[-1].rpartition("/")[2]
        elif "/_api/gharial/" in route and _made_up(last):
            parts[-1] = await self._generated(parts[-2], last)
        return "/".join(parts) + question + query

    async def _generated(self, collection: str, key: str) -> str:
        """The document that a recorded, generated key means: that with the recorded attributes, else the first."""
        query = {"query": "FOR d IN @@c RETURN d", "bindVars": {"@c": collection}}
        documents = (await self._must("POST", "/_api/cursor", query))["result"]
        answer = self._pair.answer if isinstance(self._pair.answer, dict) else {}
        told = next((value for value in answer.values() if isinstance(value, dict) and value.get("_key") == key), {})
        own = {name: value for name, value in told.items() if name not in ("_key", "_id", "_rev", "_oldRev")}
        for document in documents:
            if own and all(document.get(name) == value for name, value in own.items()):
                return str(document["_key"])
        return str(documents[0]["_key"]) if documents else key

    async def _bound_revision(self, value: str, path: str) -> str:
        bare = value.strip('"')
        told = bare.startswith("<")
        if (told and "current" not in bare) or (REVISION.fullmatch(bare) and self._pair.status == 412):
            return value.replace(bare, STALE)
        if told or REVISION.fullmatch(bare):
            answer = await self.call("GET", path.partition("?")[0])
            return value.replace(bare, answer.headers.get("etag", "").strip('"'))
        return value

    async def _bound_body(self, body: str | None, path: str) -> str | None:
        """The body with revisions of the double in the place of recorded ones."""
        if body is None or '"_rev"' not in body:
            return body
        value = json.loads(body)
        parts = path.partition("?")[0].split("/")
        collection = parts[parts.index("document") + 1] if "document" in parts else ""
        for place, item in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(item, dict) or "_rev" not in item:
                continue
            answer = self._pair.answer
            told = answer[place] if isinstance(answer, list) and place < len(answer) else answer
            refused = isinstance(told, dict) and told.get("errorNum") == 1200
            given = str(item["_rev"])
            if given.startswith("<") and "current" not in given:
                item["_rev"] = STALE
            elif given.startswith("<") or REVISION.fullmatch(given):
                key = item.get("_key", parts[-1])
                current = await self.call("GET", f"/_api/document/{collection}/{key}")
                item["_rev"] = STALE if refused else (current.json() or {}).get("_rev", STALE)
        return json.dumps(value)

    # --- steps

    def _steps(self) -> dict[str, Callable[[dict[str, Any]], Awaitable[None]]]:
        return {
            "aql": self._aql,
            "create_collection": self._create_collection,
            "create_database": self._create_database,
            "create_graph": self._create_graph,
            "drop_database": self._drop_database,
            "ensure_index": self._ensure_index,
            "graph_add_vertex_collection": self._graph_add_vertex_collection,
            "insert": self._insert,
            "insert_generated": self._insert_generated,
            "load_example_graph": self._load_example_graph,
            "remove": self._remove,
            "request": self._request,
            "use_database": self._use_database,
        }

    async def _create_collection(self, step: dict[str, Any]) -> None:
        body = {"name": step["name"], **(step.get("options") or {})}
        if step.get("type"):
            body["type"] = step["type"]
        await self._must("POST", "/_api/collection", body)
        self._collections.append(step["name"])

    async def _insert(self, step: dict[str, Any]) -> None:
        for document in step["docs"]:
            await self._must("POST", f"/_api/document/{step['collection']}", document)

    async def _insert_generated(self, step: dict[str, Any]) -> None:
        documents = [{"_key": step["key"].replace("{i}", str(i))} for i in range(step["count"])]
        await self._must("POST", f"/_api/document/{step['collection']}", documents)

    async def _remove(self, step: dict[str, Any]) -> None:
        given = step["docs"]
        for one in given if isinstance(given, list) else [given]:
            handle = one if isinstance(one, str) else one.get("_id", one.get("_key"))
            key = str(handle).rpartition("/")[2]
            await self._must("DELETE", f"/_api/document/{step['collection']}/{key}")

    async def _ensure_index(self, step: dict[str, Any]) -> None:
        made = await self._must("POST", f"/_api/index?collection={step['collection']}", step["index"])
        self._indexes.append(made["id"])

    async def _request(self, step: dict[str, Any]) -> None:
        if family_of(step["path"]) not in FAMILIES:
            raise NotReplayable(
                f"a setup that calls a family which StreamForge does not use: /{family_of(step['path'])}"
            )
        answer = await self.call(step["method"], await self._bound_path(step["path"]), step.get("body"))
        if step["method"] == "POST" and step["path"].partition("?")[0].endswith("/_api/cursor"):
            self._cursor = answer.json().get("id", self._cursor)

    async def _create_graph(self, step: dict[str, Any]) -> None:
        body = {name: step[name] for name in ("name", "edgeDefinitions", "orphanCollections") if name in step}
        await self._must("POST", "/_api/gharial", body)

    async def _graph_add_vertex_collection(self, step: dict[str, Any]) -> None:
        await self._must("POST", f"/_api/gharial/{step['graph']}/vertex", {"collection": step["collection"]})

    async def _load_example_graph(self, step: dict[str, Any]) -> None:
        example = EXAMPLE_GRAPHS.get(step["name"])
        if example is None:
            raise NotReplayable(f"an unknown example graph: {step['name']}")
        if example.named:
            definitions = [{"collection": name, "from": ends, "to": ends} for name, ends in example.ends.items()]
            await self._must("POST", "/_api/gharial", {"name": step["name"], "edgeDefinitions": definitions})
        else:
            for kind, names in ((DOCUMENTS, example.vertices), (EDGES, example.edges)):
                for name in names:
                    await self._must("POST", "/_api/collection", {"name": name, "type": kind})
        for collection, documents in (example.vertices | example.edges).items():
            await self._must("POST", f"/_api/document/{collection}", documents)
        for collection in example.geo:
            index = {"type": "geo", "fields": ["geometry"], "geoJson": True}
            await self._must("POST", f"/_api/index?collection={collection}", index)

    async def _aql(self, step: dict[str, Any]) -> None:
        query = {"query": step["query"], "bindVars": step.get("bindVars") or {}}
        await self._must("POST", "/_api/cursor", query)

    async def _create_database(self, step: dict[str, Any]) -> None:
        await self._must("POST", "/_db/_system/_api/database", {"name": step["name"]})

    async def _drop_database(self, step: dict[str, Any]) -> None:
        await self.call("DELETE", f"/_db/_system/_api/database/{step['name']}")

    async def _use_database(self, step: dict[str, Any]) -> None:
        self._database = "" if step["name"] == "_system" else f"/_db/{step['name']}"


def _made_up(name: str) -> bool:
    """Whether a part of a path is a number that a server made up, or stands for one."""
    return re.fullmatch(r"\d{4,}|<[^>]*>", name) is not None
