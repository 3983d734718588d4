"""The benchmarks on a real broker run, and what they measure can be true."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Size
from benchmarks.common.pages import PAGE, fetch
from benchmarks.common.processes import exchange
from benchmarks.common.workflow import Workflow
from benchmarks.kafka import others, sink
from benchmarks.sink import stored
from streamforge import wiring
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from tests.benchmarks.sanity import check_sane
from tests.engines.kafka.broker import Broker


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [one for one in sorted(BENCHMARKS) if one.startswith("kafka-") and one != "kafka-sink"]
)
def test_a_tiny_run_measures_something_sane(name: str) -> None:
    check_sane(BENCHMARKS[name](Bench(Size.TINY, quiet=True)))


def test_the_bare_loop_and_the_sink_store_the_same(plain_broker: Broker, tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap_servers=plain_broker.bootstrap)
    with exchange() as url:
        fetch(url, 2, tmp_path / "pages")
    sink.fill(str(tmp_path), kafka.bootstrap_servers)
    source = Workflow(tmp_path, 2 * PAGE, kafka=kafka)
    digests = []
    for code in ("loop00", "sink00"):
        workflow = Workflow(tmp_path, 2 * PAGE, code, kafka=kafka)
        job = others.Job(
            servers=kafka.bootstrap_servers,
            topic=source.topic,
            group=workflow.group,
            store=str(tmp_path / wiring.STORE),
            collection=workflow.collection,
            records=2 * PAGE,
        )
        seconds = sink.loop(job) if code == "loop00" else sink.sink(sink.settings_of(workflow, source))
        found = asyncio.run(stored(wiring.make_store(workflow.data), workflow, 2 * PAGE, seconds))
        assert found.records == 2 * PAGE
        digests.append(found.digest)
    assert len(set(digests)) == 1


def test_without_what_it_is_compared_with_the_sink_s_benchmark_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(others, "PYTHON", tmp_path / "nowhere")
    with pytest.raises(RuntimeError, match="make bench-others"):
        sink.run(Bench(Size.TINY, quiet=True))
