"""The sink on ArangoDB against a bare loop that posts the same bodies over as many connections that are kept."""

from __future__ import annotations

import asyncio
import http.client
import resource
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from benchmarks.arango.servers import Server, ask, connected, double, headers, responder
from benchmarks.common.bench import Bench
from benchmarks.common.fresh import fresh
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, per_second
from benchmarks.common.pages import PAGE, fetch
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import SINK, Workflow, live, read_all
from benchmarks.sink import fill
from streamforge import wiring
from streamforge_utils.adapters.arango import document_bodies
from streamforge_utils.adapters.arango.arango_collections import records_of
from streamforge_utils.adapters.arango.document_bodies import AT_ONCE
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Document, Outcome
from streamforge_utils.runtime.input.worker_input import BATCH_RECORDS
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.server_settings import ArangoSettings
from streamforge_utils.runtime.life.worker_process import tune_interpreter

PAGES = {Size.FULL: 400, Size.QUICK: 100, Size.TINY: 2}
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}
T = TypeVar("T")
QUERY = "overwriteMode=replace&versionAttribute=_version&returnOld=true"


class Sent(msgspec.Struct, frozen=True):
    """What a run sent. cpu_s: what its process, and the one that helps the sink, used of a core meanwhile.

    server_s: what the server used.
    """

    records: int
    seconds: float
    cpu_s: float
    server_s: float = 0.0


def run(bench: Bench) -> Section:
    """Measure it."""
    pages, rounds = PAGES[bench.size], ROUNDS[bench.size]
    records = pages * PAGE
    with bench.folder() as folder, responder() as nothing, double() as real:
        with exchange() as url:
            fetch(url, pages, folder / "pages")
        fresh(fill, str(folder))
        numbers = iter(range(100_000))

        def new(name: str, server: Server) -> Sent:
            code = f"a{next(numbers):05d}"
            function = {"loop": loop, "encoding": encoding, "store": store, "sink": sink}[name]
            before = server.cpu_s()
            sent = fresh(function, str(folder), code, records, server.settings.environment())
            used = server.cpu_s() - before
            ask(server.settings, "DELETE", f"/collection/{Workflow(folder, records, code).collection}")
            return msgspec.structs.replace(sent, server_s=used)

        runs = {
            f"{name} {where}": partial(bench.undisturbed, partial(new, name, server))
            for where, server in (("nothing", nothing), ("double", real))
            for name in ("loop", "encoding", "store", "sink")
        }
        found = in_turn(rounds, runs, lambda name, s: bench.say(f"{name}: {per_second(s.records, s.seconds)}"))

    def share(name: str, of: str, where: str) -> float:
        pairs = list(zip(found[f"{of} {where}"], found[f"{name} {where}"], strict=True))
        if where == "nothing":  # the client alone: what it used of a core
            return 100 * median([raw.cpu_s / one.cpu_s for raw, one in pairs])
        return 100 * median([raw.seconds / one.seconds for raw, one in pairs])

    rates = {name: median([one.records / one.seconds for one in them]) for name, them in found.items()}
    cpu = {name: median([one.cpu_s / one.records * 1e6 for one in them]) for name, them in found.items()}
    theirs = {name: median([one.server_s / one.records * 1e6 for one in them]) for name, them in found.items()}
    return Section(
        title="ArangoDB: sink",
        how=(
            "A bare loop of the standard library's `http.client` posts bodies that were made beforehand, the same as "
            f"the adapter makes ({BATCH_RECORDS:,} documents, or half a megabyte), over {AT_ONCE} kept connections at "
            "once, as many as the adapter uses, and reads the answers. Encoding loop: the same, but it makes each body "
            "of documents in memory (msgspec) and decodes each answer, as all who store something must. Store: the "
            "adapter's `upsert` of the same documents. Sink: the worker's whole life in its process, from a topic that "
            "was filled beforehand. All write into collections with the same schema and index, which are dropped "
            "afterwards. The server is a process of its own. Once it is the double, which stores the documents: its "
            "time is in all of them, as a server's would be, and the CPU that it used for each is listed: what the "
            "ratio leaves is the client's doing. Once it is one that does nothing but count documents and say that "
            "they are stored: there the client alone is compared, by the CPU time of its processes."
        ),
        lines=(
            Line(
                what="ArangoDB: sink on the double, share of a bare HTTP loop",
                measured=share("sink", "loop", "double"),
                unit="%",
                at_least=70,
            ),
            Line(
                what="ArangoDB: store on the double, share of a bare HTTP loop",
                measured=share("store", "loop", "double"),
                unit="%",
                at_least=70,
            ),
            Line(
                what="ArangoDB: store (client alone), share of an encoding HTTP loop",
                measured=share("store", "encoding", "nothing"),
                unit="%",
            ),
            Line(
                what="ArangoDB: store (client alone), share of a bare HTTP loop",
                measured=share("store", "loop", "nothing"),
                unit="%",
            ),
            Line(
                what="ArangoDB: sink (client alone), share of a bare HTTP loop",
                measured=share("sink", "loop", "nothing"),
                unit="%",
            ),
        ),
        details=(
            f"{records:,} documents a run, {rounds} runs of each in turn.",
            f"Median: {', '.join(f'{name} {rate:,.0f}/s' for name, rate in rates.items())}.",
            f"CPU of the client: {', '.join(f'{name} {used:.2f} µs' for name, used in cpu.items())} a document.",
            f"CPU of the server: {', '.join(f'{name} {used:.2f} µs' for name, used in theirs.items())} a document.",
        ),
    )


def loop(folder: str, code: str, records: int, environ: dict[str, str]) -> Sent:
    """Post bodies that are ready."""
    ready = _bodies(Path(folder), records)
    return _post(Path(folder), code, records, environ, ready, lambda body: body, lambda answer: None)


def encoding(folder: str, code: str, records: int, environ: dict[str, str]) -> Sent:
    """Make each body of documents in memory, post it, and decode the answer."""
    decode = msgspec.json.Decoder().decode
    batches = [decode(body) for body in _bodies(Path(folder), records)]
    return _post(Path(folder), code, records, environ, batches, msgspec.json.Encoder().encode, decode)


def _bodies(folder: Path, records: int) -> list[bytes]:
    """The bodies that the adapter makes of the documents."""
    documents = DocumentColumns.of(asyncio.run(documents_of(folder, records)))
    found: list[bytes] = []
    for first in range(0, records, BATCH_RECORDS):
        batch = documents[first : first + BATCH_RECORDS]
        made = [
            document_bodies.plain_array(batch[start:end])
            for start, end in document_bodies.chunks(document_bodies.sizes(batch))
        ]
        found.extend(body for body in made if body is not None)
    return found


def _post(
    folder: Path,
    code: str,
    records: int,
    environ: dict[str, str],
    batches: Sequence[T],
    make: Callable[[T], bytes],
    read: Callable[[bytes], object],
) -> Sent:
    settings = load(ArangoSettings, environ)
    collection = Workflow(folder, records, code).collection
    for path, about in _collection_like_ours(collection):
        ask(settings, "POST", path, msgspec.json.encode(about))
    path = f"/_db/{settings.database}/_api/document/{collection}?{QUERY}"
    known = headers(settings)
    left = iter(batches)

    def some(connection: http.client.HTTPConnection) -> None:
        for batch in left:
            connection.request("POST", path, make(batch), known)
            answer = connection.getresponse()
            read(answer.read())
            if answer.status > 202:
                raise RuntimeError(f"HTTP {answer.status}")

    make(batches[0])  # what is needed once only is there before the clock starts, as it is in a worker
    connections = [connected(settings) for _ in range(AT_ONCE)]
    tune_interpreter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        began, cpu = time.perf_counter(), _cpu()
        list(threads.map(some, connections))
        sent = Sent(records, time.perf_counter() - began, _cpu() - cpu)
    for connection in connections:
        connection.close()
    return sent


def _collection_like_ours(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The calls that make a collection with the same schema and indexes as the adapter makes it: what they cost the
    server is in every run."""
    candles = records_of(kind_named("candles"))
    return [
        ("/collection", {"name": name, "type": candles.type, **candles.options}),
        *((f"/index?collection={name}", index) for index in candles.indexes),
    ]


def store(folder: str, code: str, records: int, environ: dict[str, str]) -> Sent:
    """Give documents that are ready to the adapter."""
    return asyncio.run(_store(Path(folder), code, records, environ))


async def _store(folder: Path, code: str, records: int, environ: dict[str, str]) -> Sent:
    documents = await documents_of(folder, records)
    workflow = Workflow(folder, records, code, arango=load(ArangoSettings, environ))
    found = wiring.make_store(workflow.data)
    await found.connect()
    began, cpu = time.perf_counter(), _cpu()
    for first in range(0, records, BATCH_RECORDS):
        answers = await found.upsert(workflow.collection, documents[first : first + BATCH_RECORDS])
        if any(answer.outcome is not Outcome.STORED for answer in answers):
            raise RuntimeError("not all was stored")
    sent = Sent(records, time.perf_counter() - began, _cpu() - cpu)
    await found.close()
    return sent


def sink(folder: str, code: str, records: int, environ: dict[str, str]) -> Sent:
    """Let the real sink store what lies on the topic, as a consumer group of its own."""
    source = Workflow(Path(folder), records)
    workflow = Workflow(Path(folder), records, code, arango=load(ArangoSettings, environ))
    settings = workflow.settings(KAFKA_TOPIC=source.topic, STREAMFORGE_UPSTREAM=f"{source.loader_id}:1")
    cpu = _cpu()
    seconds = asyncio.run(live(SINK, settings))
    for thread in threading.enumerate():
        if thread.name.startswith("convert"):  # it sees its process end
            thread.join(10)
    return Sent(records, seconds, _cpu() - cpu)


async def documents_of(folder: Path, records: int) -> list[Document]:
    """The documents that the sink makes of the topic."""
    source = Workflow(folder, records)
    bus = wiring.make_bus(source.data)
    received = await read_all(bus, source.topic, records)
    await bus.close()
    return [Document(*KIND.document(message.key, message.value)) for message in received]


def _cpu() -> float:
    """Of this process, and of those that it started and that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)
