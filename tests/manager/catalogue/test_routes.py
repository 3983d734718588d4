from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest

from streamforge import workers
from streamforge.manager.api.app import create_app
from streamforge.manager.api.tokens import Tokens
from streamforge.manager.catalogue import asyncapi, schemas
from streamforge.manager.catalogue.routes import HIDDEN_REASON
from streamforge.manager.health.readiness import FRESH_S
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.model.messages import Progress, decode_command, decode_event, decode_marker
from streamforge_utils.runtime.output.topic_writer import HEADERS
from tests.doubles.candles import decode_candle, stored_document
from tests.manager.api.support import LOCAL, OPERATOR, READER, TOKENS, client_of, problem
from tests.manager.memory_service import NOW_MS, MemoryService
from tests.places import schemas as schemas_of_others

NAMES = [
    *("command", "event", "progress", "agg_trade", "stored-agg_trade", "candle", "stored-candle"),
    *("depth", "stored-depth", "depth_checkpoint", "stored-depth_checkpoint"),
    *("depth_interval", "stored-depth_interval", "depth_top", "stored-depth_top"),
    *("trade", "stored-trade", "end-of-stream", "dead-letter-headers"),
    *("payload-simulate-loading", "payload-fail-after"),
]


def asyncapi_schema() -> dict[str, Any]:
    path = schemas_of_others("asyncapi", f"{asyncapi.VERSION}.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_the_root_leads_to_every_answer_without_a_name_in_it(client: httpx.AsyncClient, path: str) -> None:
    found = (await client.get(path)).json()
    links = [link["path"] for link in found["links"]]
    assert links[0] == "/openapi.json"
    assert {"/targets", "/queues", "/series", "/symbols", "/healthz", "/readyz"} <= set(links)
    assert all(link["summary"] for link in found["links"])
    for link in links:
        if "{" not in link and link != "/feed":  # which never ends
            assert (await client.get(link)).status_code == 200, link


async def test_a_browser_gets_the_same_as_a_page_that_loads_nothing(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<a href=/targets>/targets</a>: The kinds of workers" in response.text
    assert "<a href=/openapi.json>" in response.text
    for foreign in ("<script", "<link", "<style", "<img", "http:", "https:", "//"):
        assert foreign not in response.text


async def test_targets_describe_every_worker_and_its_parameters(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/targets")).json()
    found, types = answer["targets"], answer["types"]

    assert {"api_candles_1m", "api_candles_1M", "ws_candles_1s", "api_trades", "ws_orderbook"} <= set(types)
    assert not {"ws_depth_top", "json"} & set(types)  # they come with others
    assert [target["target"] for target in found] == workers.targets()
    by_name = {target["target"]: target for target in found}
    assert by_name["loader-api-candles"]["role"] == "loader"
    assert by_name["arango-candles"]["role"] == "sink"
    assert by_name["arango-candles"]["types"] == ["api_candles_", "ws_candles_"]
    for target in found:
        assert target["summary"]
        jsonschema_rs.meta.validate(target["parameters"])
        jsonschema_rs.validate(target["parameters"], {})  # every parameter has a default
        assert target["parameters"]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    sink = by_name["arango-candles"]["parameters"]["properties"]["store_patience_seconds"]
    assert (sink["type"], sink["default"]) == ("number", 60.0)
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(by_name["arango-candles"]["parameters"], {"store_patience_seconds": -1})


async def test_schemas_are_listed_and_each_is_found(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/schemas")).json()["schemas"]

    assert [entry["name"] for entry in listed] == NAMES
    for entry in listed:
        response = await client.get(entry["link"])
        assert response.headers["content-type"] == "application/schema+json"
        schema = response.json()
        assert schema["title"] == entry["title"]
        assert schema["description"] == entry["description"]
        assert schema == schemas.message_schemas()[entry["name"]]
    body = problem(await client.get("/schemas/klines"), 404, "not-found")
    assert "candle" in body["detail"]


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid_and_its_examples_fit(name: str) -> None:
    schema = schemas.message_schemas()[name]

    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:streamforge:schema:{name}"
    assert schema["examples"]
    for example in schema["examples"]:
        jsonschema_rs.validate(schema, example)
    for field, described in schema["properties"].items():
        plain = name in ("command", "event") and field in _SELF_EXPLAINING
        assert plain or name == "end-of-stream" or described.get("description"), field


_SELF_EXPLAINING = {"symbol", "type", "collection_name", "image", "target", "message", "error_message"}


def test_the_examples_are_read_by_the_code_that_reads_the_topics() -> None:
    found = schemas.message_schemas()

    def bodies(name: str) -> list[bytes]:
        return [json.dumps(example).encode() for example in found[name]["examples"]]

    told = [decode_command(body) for body in bodies("command")]
    assert [command.command for command in told] == [
        *("start", "stop", "ping", "budget", "takeover", "simulate-loading", "fail-after"),
    ]
    own = workers.definition("dummy-service").commands
    for command in told[5:]:
        msgspec.convert(command.payload, own[command.command])
        jsonschema_rs.validate(found[f"payload-{command.command}"], command.payload)
    assert [decode_event(body).event for body in bodies("event")] == ["started", "loading", "finished", "error", "pong"]
    assert msgspec.json.decode(bodies("progress")[0], type=Progress).share == 0.5
    candle = bodies("candle")[0]
    assert decode_candle(candle).close == "64592.00000000"
    key, _, body = stored_document(b"BTCUSDT_1m_1722470400000", candle)
    assert key == "BTCUSDT_1m_1722470400000"
    assert json.loads(body) == found["stored-candle"]["examples"][0]
    assert decode_marker(bodies("end-of-stream")[0]).records == 1440
    assert tuple(found["dead-letter-headers"]["properties"]) == HEADERS


def test_what_a_reader_refuses_a_schema_refuses() -> None:
    found = schemas.message_schemas()
    candle = found["candle"]["examples"][0]

    def fits(name: str, value: object) -> bool:
        return jsonschema_rs.Draft202012Validator(found[name]).is_valid(value)

    assert fits("candle", candle)
    assert fits("candle", {**candle, "unknown": 1})
    assert not fits("candle", {**candle, "open": "nan"})
    assert not fits("candle", {**candle, "open": 1.5})
    assert not fits("candle", {**candle, "open_time": "1722470400000"})
    assert not fits("candle", {key: value for key, value in candle.items() if key != "close"})
    assert not fits("event", {"event": "loading"})
    assert not fits("event", {**found["event"]["examples"][0], "event": "asleep"})
    assert not fits("command", {"command": "stop"})
    assert not fits(
        "end-of-stream", {"end_of_stream": {"producer": "a", "attempt": 1, "records": 0, "reason": "error"}}
    )
    assert set(found["stored-candle"]["properties"]) == set(KIND.columns)
    found["candle"]["properties"].clear()
    assert schemas.message_schemas()["candle"]["properties"], "what a caller changes stays with it"


async def test_the_asyncapi_document_fits_its_schema_and_says_how_topics_are_kept(client: httpx.AsyncClient) -> None:
    document = (await client.get("/asyncapi.json")).json()
    assert document == asyncapi.document()
    assert document["asyncapi"] == "3.1.0"
    validator = jsonschema_rs.Draft7Validator(asyncapi_schema())
    validator.validate(document)
    channels = document["channels"]
    addresses = {name: channel["address"] for name, channel in channels.items()}
    assert addresses == {
        "control": "queue-control",
        "events": "queue-events",
        "data": "{queue_id}-data",
        "dlq": "{queue_id}-data-dlq",
    }
    assert references(document) > 20
    used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in document["operations"].values()}
    assert used == set(channels)
    kept = {name: channel["bindings"]["kafka"]["topicConfiguration"] for name, channel in channels.items()}
    for_ever = {"cleanup.policy": ["delete"], "retention.ms": -1, "retention.bytes": -1}
    a_week = {"cleanup.policy": ["delete"], "retention.ms": 604_800_000, "retention.bytes": 67_108_864}
    # A dead letter is dropped as little as a record.
    assert kept == {"control": a_week, "events": a_week, "data": for_ever, "dlq": for_ever}
    assert {channel["bindings"]["kafka"]["partitions"] for channel in channels.values()} == {1}
    for message in document["components"]["messages"].values():
        assert message["bindings"]["kafka"]["key"]["type"] == "string"
        assert message["examples"]
    groups = {name for name, operation in document["operations"].items() if "groupId" in str(operation.get("bindings"))}
    assert groups == {"receiveRecord", "receiveDeadLetter"}
    channels["data"]["bindings"]["kafka"]["partitions"] = "one"
    assert not validator.is_valid(document)  # so the schema does look at the bindings


async def test_the_openapi_document_is_valid_and_says_who_may_what(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    assert document["openapi"] == "3.1.0"
    # Two seconds to import, which every process would wait for that collects this file.
    from openapi_spec_validator import OpenAPIV31SpecValidator
    from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

    OpenAPIV31SpecValidator(document).validate()
    with pytest.raises(OpenAPIValidationError):
        OpenAPIV31SpecValidator({**document, "info": {}}).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    assert references(document) > 20
    assert document["paths"]["/queues"]["get"]["security"] == [{"bearer": ["reader"]}]
    assert document["paths"]["/queues/start"]["post"]["security"] == [{"bearer": ["operator"]}]
    assert document["paths"]["/queues/{queue_id}"]["delete"]["security"] == [{"bearer": ["operator"]}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert document["paths"]["/readyz"]["get"]["security"] == []
    for item in document["paths"].values():
        for operation in item.values():
            assert operation["summary"]
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert "application/problem+json" in answer["content"]
    assert "HTTPValidationError" not in json.dumps(document)
    assert "http://" not in json.dumps(document)


async def test_the_examples_of_requests_are_accepted(client: httpx.AsyncClient, service: MemoryService) -> None:
    document = (await client.get("/openapi.json")).json()

    service.exchange.now_ms = 1_785_000_000_000
    service.clock.advance((service.exchange.now_ms - NOW_MS) / 1000)
    for path, model in (("/queues/start", "Start"), ("/queues/start-pipeline", "StartPipeline")):
        for example in document["components"]["schemas"][model]["examples"]:
            response = await client.post(path, json=example)
            assert response.status_code == 202, response.text


async def test_there_are_no_pages_that_load_scripts_from_elsewhere(client: httpx.AsyncClient) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect"):
        problem(await client.get(path), 404, "not-found")


async def test_probes_say_what_works(client: httpx.AsyncClient, service: MemoryService) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)

    service.world.store.failing = RetryableError("no answer within 5 s")
    service.clock.advance(FRESH_S)
    ready = await client.get("/readyz")

    assert ready.status_code == 503
    assert ready.headers["retry-after"] == "5"
    assert ready.json() == {
        "ready": False,
        "degraded": False,
        "parts": {"bus": None, "store": "no answer within 5 s", "launcher": None, "reconciler": None},
    }
    assert (await client.get("/healthz")).status_code == 200


HERE, THERE = LOCAL, "http://queue-manager:8080"
REASON = "store.internal:8529 does not answer"


@pytest.mark.parametrize(
    ("tokens", "token", "base_url", "told"),
    [
        (TOKENS, None, THERE, HIDDEN_REASON),
        (TOKENS, "no-such-token-0123456789", THERE, HIDDEN_REASON),
        (TOKENS, None, HERE, HIDDEN_REASON),
        (TOKENS, READER, THERE, REASON),
        (TOKENS, OPERATOR, THERE, REASON),
        (None, None, HERE, REASON),
        (None, None, "http://rebound.example:8080", HIDDEN_REASON),
    ],
)
async def test_a_probe_tells_why_only_to_who_may_read(
    service: MemoryService, tokens: Tokens | None, token: str | None, base_url: str, told: str
) -> None:
    service.world.store.failing = RetryableError(REASON)
    async with client_of(create_app(service, tokens=tokens), token, base_url=base_url) as client:
        ready = await client.get("/readyz")
        assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json()["parts"] == {"bus": None, "store": told, "launcher": None, "reconciler": None}


async def test_without_its_launcher_a_manager_is_ready_but_says_so(
    client: httpx.AsyncClient, service: MemoryService
) -> None:
    service.world.launcher.failing = RetryableError("the API server cannot be reached")
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert "retry-after" not in ready.headers
    assert (ready.json()["ready"], ready.json()["degraded"]) == (True, True)
    assert ready.json()["parts"]["launcher"] == "the API server cannot be reached"
    service.world.reconciler.last_error = "the loop fails"
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"], ready.json()["degraded"]) == (503, False, False)


def references(document: Any) -> int:
    """How many references the document holds; each names something in it."""
    nodes, count = [document], 0
    for node in nodes:
        children = node.values() if isinstance(node, dict) else node
        nodes += [child for child in children if isinstance(child, dict | list)]
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            found: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part.replace("~1", "/")]
            assert found
            count += 1
    return count
