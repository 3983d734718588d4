"""Settings become adapters, in the folders that everybody expects."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from streamforge import wiring
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.ports.launcher import JobSpec, JobState
from streamforge_utils.ports.store import Document, Outcome
from streamforge_utils.runtime.life.server_settings import ArangoSettings, KafkaSettings
from streamforge_utils.runtime.life.settings import DataSettings, ExchangeSettings
from streamforge_utils.runtime.live.stream_settings import StreamSettings
from tests.doubles.manualclock import ManualClock
from tests.doubles.observer import RecordingObserver
from tests.doubles.streamserver import stream_server
from tests.limits import LIMIT_S


@pytest.fixture
def settings(tmp_path: Path) -> DataSettings:
    return DataSettings(data_dir=tmp_path / "data")


async def test_the_bus_is_shared_by_who_has_the_same_folder(settings: DataSettings) -> None:
    first, second = wiring.make_bus(settings), wiring.make_bus(settings)
    await first.create_topic(TopicSpec(name="t"))
    await (await first.producer()).send("t", [Message(b"k", b"v")])
    (received,) = await (await second.consumer("t")).poll(10, LIMIT_S)
    assert received.value == b"v"
    assert (settings.folder / "bus").is_dir()
    await first.close()
    await second.close()


async def test_the_store_keeps_documents_in_its_folder(settings: DataSettings) -> None:
    store = wiring.make_store(settings)
    assert (await store.upsert("c", [Document("k", 1, b"{}")]))[0].outcome is Outcome.STORED
    assert (settings.folder / "store").is_dir()
    await store.close()


async def test_the_exchange_is_reached_by_the_settings_url() -> None:
    exchange = wiring.make_exchange(ExchangeSettings(urls=("http://127.0.0.1:9",), weight_per_minute=5))
    exchange.set_weight_limit(10)
    await exchange.close()
    with pytest.raises(ConfigError):
        wiring.make_exchange(ExchangeSettings(urls=("no url",)))


async def test_the_streams_are_those_of_the_settings_or_of_the_exchange() -> None:
    async with stream_server() as server:
        of_binance = ExchangeSettings(urls=("https://data-api.binance.vision",))
        of_test = ExchangeSettings(urls=(server.url.replace("ws", "http", 1),))
        for settings, exchange in (
            (StreamSettings(url=f"{server.url}/ws", other_url="ws://127.0.0.1:9"), of_binance),
            (StreamSettings(other_url=f"{server.url}/ws"), of_binance),
            (StreamSettings(connects=1), of_test),
        ):
            clock, observer = ManualClock(), RecordingObserver()
            stream = wiring.make_stream(settings, exchange, clock=clock, observer=observer)
            await stream.connect(["btcusdt@trade"])
            if settings.connects == 1:
                second = asyncio.create_task(stream.connect(["btcusdt@trade"]))
                await clock.sleeping(2)  # for its turn, beside the watch of the first one
                assert len(server.paths) == 3
                second.cancel()
            await stream.close()
    with pytest.raises(ConfigError, match="STREAMFORGE_STREAM_URL"):
        wiring.make_stream(StreamSettings(url="no url"), of_binance)


@pytest.mark.e2e
async def test_a_job_is_a_worker_that_knows_its_data_folder(settings: DataSettings) -> None:
    launcher = wiring.make_launcher(settings, environment={"STREAMFORGE_LOG_FORMAT": "json"})
    spec = JobSpec(name="job-x", target="arango-candles", queue_id="wf-x", attempt=1)
    await launcher.start(spec)
    try:
        while (job := (await launcher.jobs())[0]).state is JobState.RUNNING:
            pass
    finally:
        await launcher.stop("job-x", grace_s=1)
    assert (job.name, job.target, job.exit_code) == ("job-x", "arango-candles", 2)
    assert "QUEUE_ID is missing" in job.reason
    assert "STREAMFORGE_DATA_DIR is missing" not in job.reason
    await launcher.forget("job-x")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("make", "absent"),
    [
        ("None", "'.adapters' in m"),
        ("wiring.make_bus(settings)", "'kafka' in m and 'runtime' not in m"),
        ("wiring.make_store(settings)", "m == 'aiohttp' or 'adapters.arango' in m"),
        ("from streamforge_utils.adapters.binance import BinanceExchange", "m == 'picows'"),
    ],
    ids=["nothing", "embedded bus", "embedded store", "exchange"],
)
def test_only_the_adapters_that_are_made_are_imported(make: str, absent: str, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from streamforge import wiring; "
        "from streamforge_utils.runtime.life.settings import DataSettings; "
        f"settings = DataSettings(data_dir=Path({str(tmp_path)!r})); {make}; "
        f"print([m for m in sys.modules if {absent}])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "[]"


async def test_brokers_in_the_settings_make_kafka_the_bus(settings: DataSettings) -> None:
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:9", user="u", password=Secret("hush-hush"), ca_path=Path("/ca"))
    bus = wiring.make_bus(DataSettings(data_dir=settings.data_dir, kafka=kafka))
    assert type(bus).__name__ == "KafkaBus"
    with pytest.raises(ConfigError, match="KAFKA_CA_PATH: the file /ca cannot be read"):
        await bus.topics()
    await bus.close()
    assert not settings.folder.exists()


async def test_a_server_in_the_settings_makes_arangodb_the_store(settings: DataSettings) -> None:
    arango = ArangoSettings(
        url="https://127.0.0.1:9", database="d", user="u", password=Secret("hush-hush"), ca_path=Path("/ca")
    )
    store = wiring.make_store(DataSettings(data_dir=settings.data_dir, arango=arango))
    assert type(store).__name__ == "ArangoStore"
    with pytest.raises(ConfigError, match="STREAMFORGE_ARANGO_CA_PATH: the file /ca cannot be read"):
        await store.connect()
    await store.close()
    assert not settings.folder.exists()
