"""What a job is told, whole: each setting is read by a worker under its name."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.engine.document import Attempt, Step, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.job_spec import job_of, start_command, topics_of
from streamforge.manager.workflows.series.model import Part, Plan
from streamforge_utils.model.messages import Command, Progress
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.model.topic_reading import PartitionRange
from streamforge_utils.ports.bus import HEADERS_BYTES, Retention, TopicSpec
from streamforge_utils.ports.launcher import JobSpec
from streamforge_utils.runtime.life.worker_definition import Role, Source
from tests.manager.support import HOUR_MS, LOADER, NOW, POLICY, SINK, changed, planned, replace, step, the_plan

QUEUE = "wf-btcusdt-api_candles_1m-20240801-abc123"
SPAN = "2024-08-01:2024-08-02"
COLLECTION = "btcusdt_api_candles_1m_2024_08_01"
POLICY_HERE = replace(
    POLICY, heartbeat_s=2.5, orphan_after_s=301, drain_within_s=61, data_topic_max_bytes=1000, dlq_max_bytes=2000
)


def workflow() -> Workflow:
    """Two loaders and two sinks."""
    of = planned()
    loader, sink = replace(step(of, LOADER), round_from=2), step(of, SINK)
    second_loader = replace(loader, target="second-loader", telemetry_id="second-loader__abc123", round_from=3)
    second_sink = replace(sink, target="second-sink", telemetry_id="second-sink__abc123")
    return replace(of, steps=(loader, second_loader, sink, second_sink))


GIVEN: Any = {"weight_per_minute": 1200, "policy": POLICY_HERE, "common": {"BUS": "there", "SYMBOL": "never"}}


def job(of: Step, **fields: Any) -> JobSpec:
    attempt = Attempt(number=3, job="job-x-3", planned_ms=NOW + 500, **fields)
    return job_of(workflow(), of, attempt, **GIVEN)


COMMON = {
    "BUS": "there",
    "QUEUE_ID": QUEUE,
    "SYMBOL": "BTCUSDT",
    "TYPE": "api_candles_1m",
    "TIME_RANGE": SPAN,
    "INTERVAL": "1m",
    "COLLECTION_NAME": COLLECTION,
    "STREAMFORGE_ATTEMPT": "3",
    "STREAMFORGE_LAUNCHED_AT": "1723334400.5",
    "STREAMFORGE_HEARTBEAT_SECONDS": "2.5",
    "STREAMFORGE_ORPHAN_SECONDS": "301",
}


def test_a_loader_is_told_its_ranges_its_weight_and_who_reads() -> None:
    of = replace(
        step(workflow(), LOADER), image="registry/loader:1", parameters={"page": 500, "note": "a b", "deep": [1, "x"]}
    )
    assert job(of, ranges=("2024-08-01:2024-08-01T06:00Z", "2024-08-01T12:00Z:2024-08-02")) == JobSpec(
        name="job-x-3",
        target=LOADER,
        queue_id=QUEUE,
        attempt=3,
        image="registry/loader:1",
        environment={
            **COMMON,
            "KAFKA_TOPIC": f"{QUEUE}-data",
            "TELEMETRY_PRODUCER_ID": "loader-api-candles__abc123",
            "STREAMFORGE_RANGES": "2024-08-01:2024-08-01T06:00Z,2024-08-01T12:00Z:2024-08-02",
            "STREAMFORGE_WEIGHT_PER_MINUTE": "1200",
            "STREAMFORGE_DOWNSTREAM": f"{QUEUE}-arango-candles,{QUEUE}-second-sink",
            "STREAMFORGE_PAGE": "500",
            "STREAMFORGE_NOTE": "a b",
            "STREAMFORGE_DEEP": '[1,"x"]',
        },
    )


@pytest.mark.parametrize(("source", "archive"), [(Source.ARCHIVE, True), (Source.REST, False)])
def test_a_loader_of_the_archive_needs_room_for_files(source: Source, archive: bool) -> None:
    assert job(replace(step(workflow(), LOADER), source=source), ranges=(SPAN,)).archive is archive


@pytest.mark.parametrize("role", [Role.ANALYST, Role.SINK])
def test_what_computes_is_marked_as_it_may_take_more_memory(role: Role) -> None:
    assert job(replace(step(workflow(), SINK), role=role)).analyst is (role is Role.ANALYST)


def test_of_a_range_whose_last_bar_ends_behind_the_workflows_the_loader_is_told_what_lies_inside() -> None:
    told = job(step(workflow(), LOADER), ranges=("2024-08-01T23:00Z:2024-08-02T00:30Z",))
    assert told.environment["STREAMFORGE_RANGES"] == "2024-08-01T23:00Z:2024-08-02"


RANGE = "2024-08-01T06:00Z:2024-08-02"
WITHIN, BEFORE = parse_time_range(RANGE).start_ms + 5000, parse_time_range(RANGE).start_ms - 1


@pytest.mark.parametrize(
    ("reached", "told"),
    [
        ([], "77"),  # as the plan knows
        ([(2, WITHIN, 99)], "100"),
        ([(2, WITHIN, 99), (2, None, None)], "100"),  # who got nowhere tells nothing
        ([(2, WITHIN, 99), (2, WITHIN + 1, 100)], "101"),
        ([(2, BEFORE, 99)], None),  # it lies in a range before
        ([(2, WITHIN, None)], None),
        ([(1, WITHIN, 99)], "77"),  # of an earlier round
    ],
)
def test_a_loader_by_ids_goes_on_behind_the_last_record_that_is_there(
    reached: list[tuple[int, int | None, int | None]], told: str | None
) -> None:
    attempts = tuple(
        Attempt(number=number, job="job", planned_ms=NOW, progress=Progress(position=position, last_id=last_id))
        for number, position, last_id in reached
    )
    of, attempt = workflow(), Attempt(number=3, job="job-x-3", planned_ms=NOW, ranges=(RANGE,))
    part = Part(span=parse_time_range(RANGE), first_id=77)
    of = changed(of, plan=replace(the_plan(of), parts=(part,)))
    loader = replace(step(of, LOADER), attempts=(*attempts, attempt), round_from=2)
    environment = job_of(of, loader, attempt, **GIVEN).environment
    assert environment.get("STREAMFORGE_FIRST_ID") == told
    files = replace(loader, source=Source.ARCHIVE)
    assert "STREAMFORGE_FIRST_ID" not in job_of(of, files, attempt, **GIVEN).environment


def test_a_sink_is_told_whose_markers_end_its_input() -> None:
    assert job(step(workflow(), SINK)) == JobSpec(
        name="job-x-3",
        target=SINK,
        queue_id=QUEUE,
        attempt=3,
        environment={
            **COMMON,
            "KAFKA_TOPIC": f"{QUEUE}-data",
            "TELEMETRY_PRODUCER_ID": "arango-candles__abc123",
            "STREAMFORGE_DRAIN_SECONDS": "61",
            "STREAMFORGE_UPSTREAM": "loader-api-candles__abc123:2,second-loader__abc123:3",
        },
    )


def test_a_sink_waits_for_no_loader_that_has_no_part_in_the_round() -> None:
    idle = replace(step(workflow(), LOADER), ranges=())
    done = replace(idle, attempts=(Attempt(number=2, job="job-2", planned_ms=NOW),))
    before = replace(idle, attempts=(Attempt(number=1, job="job-1", planned_ms=NOW),))
    told = [
        job_of(of, step(of, SINK), Attempt(number=3, job="job", planned_ms=NOW), **GIVEN).environment
        for of in map(workflow().with_step, (idle, done, before, replace(done, status=StepStatus.FINISHED)))
    ]
    both = "loader-api-candles__abc123:2,second-loader__abc123:3"
    second = "second-loader__abc123:3"
    ended = both.replace(":2", ":2:ended")
    assert [environment["STREAMFORGE_UPSTREAM"] for environment in told] == [second, both, second, ended]


def test_a_replaying_sink_is_told_to_read_the_dead_letters() -> None:
    assert job(step(workflow(), SINK), replay=True).environment == {
        **COMMON,
        "KAFKA_TOPIC": f"{QUEUE}-data-dlq",
        "TELEMETRY_PRODUCER_ID": "arango-candles__abc123",
        "STREAMFORGE_REPLAY": "true",
    }
    chosen = replace(step(workflow(), SINK), letters=("0:3:4", "0:17:19"))
    assert job(chosen, replay=True).environment["STREAMFORGE_REPLAY_LETTERS"] == "0:3:4,0:17:19"
    read = replace(workflow(), letters_read=(PartitionRange(0, 1, 3), PartitionRange(1, 5, 6)))
    attempt = Attempt(number=3, job="job-x-3", planned_ms=NOW, replay=True)
    assert job_of(read, chosen, attempt, **GIVEN).environment["STREAMFORGE_REPLAY_PASSED"] == "0:1:3,1:5:6"


def test_the_start_command_records_what_was_started() -> None:
    of = replace(step(workflow(), LOADER), image="registry/loader:1")
    assert start_command(workflow(), of, Attempt(number=3, job="job-x-3", planned_ms=NOW)) == Command(
        command="start",
        queue_id=QUEUE,
        target=LOADER,
        telemetry_id="loader-api-candles__abc123",
        symbol="BTCUSDT",
        type="api_candles_1m",
        time_range=SPAN,
        kafka_topic=f"{QUEUE}-data",
        collection_name=COLLECTION,
        image="registry/loader:1",
        attempt=3,
    )


def test_the_start_command_names_the_range_that_was_planned() -> None:
    over = Plan(exchange_now_ms=NOW, until_ms=workflow().span.end_ms - HOUR_MS)
    of, attempt = step(workflow(), LOADER), Attempt(number=3, job="job-x-3", planned_ms=NOW)
    for plan, span in ((over, "2024-08-01:2024-08-01T23:00Z"), (replace(over, until_ms=0), SPAN)):
        assert start_command(changed(workflow(), plan=plan), of, attempt).time_range == span


def test_the_topics_make_room_as_the_sinks_read() -> None:
    readers = (f"{QUEUE}-arango-candles", f"{QUEUE}-second-sink")
    assert topics_of(workflow(), POLICY_HERE) == (
        TopicSpec(name=f"{QUEUE}-data", retention=Retention.CONSUMED, max_bytes=1000, readers=readers),
        TopicSpec(
            name=f"{QUEUE}-data-dlq",
            retention=Retention.CONSUMED,
            max_bytes=2000,
            readers=readers,
            headers_bytes=HEADERS_BYTES,
        ),
    )


def test_the_workers_of_a_daily_workflow_are_told_so() -> None:
    attempt = Attempt(number=1, job="job-x", planned_ms=NOW)
    daily = replace(workflow(), daily=True, collection="base")
    environment = job_of(daily, step(daily, SINK), attempt, **GIVEN).environment
    assert (environment["COLLECTION_NAME"], environment["STREAMFORGE_DAILY_COLLECTIONS"]) == ("base", "true")
