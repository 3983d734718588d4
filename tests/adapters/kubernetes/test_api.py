"""Calls to the API server: none after the close, and what a refusal means for who called."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.kubernetes.api import DENIED_S, Denials, Refused, create_refused
from streamforge_utils.adapters.kubernetes.objects import Failure
from streamforge_utils.model.errors import ConfigError, RetryableError, StreamForgeError
from streamforge_utils.ports.launcher import JobSpec
from tests.adapters.kubernetes.scripted import Script, connected
from tests.doubles.manualclock import ManualClock

SPEC = JobSpec(name="job-a", target="arango-candles", queue_id="wf-a", attempt=1)
DENIED = 'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch" in the namespace "stf"'
QUOTA = 'jobs.batch "job-a" is forbidden: exceeded quota: jobs'
CONFLICT = 'Operation cannot be fulfilled on resourcequotas "jobs": the object has been modified'
UNCOUNTED = 'jobs.batch "job-a" is forbidden: status unknown for quota: jobs, resources: count/jobs.batch'
COLD = 'jobs.batch "job-a" is forbidden: not yet ready to handle request'


def refused(message: str, status: int = 403, reason: str = "Forbidden") -> Refused:
    return Refused(status, Failure(code=status, reason=reason, message=message), "POST jobs")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0)


@pytest.fixture
def denials(clock: ManualClock) -> Denials:
    return Denials(clock)


def judged(denials: Denials, message: str = DENIED) -> StreamForgeError:
    found = refused(message)
    return denials.error_of(found, create_refused(found, SPEC, "stf"))


def test_it_may_pass_until_it_has_lasted(denials: Denials, clock: ManualClock) -> None:
    for _ in range(int(DENIED_S / 2)):
        error = judged(denials)
        assert isinstance(error, RetryableError)
        assert "a right is missing, create jobs" in str(error)
        assert "has just started" in str(error)
        clock.advance(2)
    error = judged(denials)
    assert isinstance(error, ConfigError)
    assert "streamforge doctor" in str(error)
    assert "has just started" not in str(error)


def test_a_pause_or_a_right_that_is_given_begins_anew(denials: Denials, clock: ManualClock) -> None:
    judged(denials)
    clock.advance(DENIED_S)  # nobody asked meanwhile
    assert isinstance(judged(denials), RetryableError)
    for _ in range(int(DENIED_S)):
        clock.advance(1)
        judged(denials)
    denials.over()
    assert isinstance(judged(denials), RetryableError)


def test_what_is_no_right_is_as_it_was(denials: Denials) -> None:
    assert isinstance(judged(denials, QUOTA), RetryableError)
    assert "has just started" not in str(judged(denials, QUOTA))
    assert isinstance(judged(denials, 'pods "job-a" is forbidden: violates PodSecurity "restricted"'), ConfigError)


@pytest.mark.parametrize(
    ("message", "status", "reason"),
    [(CONFLICT, 409, "Conflict"), (UNCOUNTED, 403, "Forbidden"), (COLD, 403, "Forbidden")],
)
def test_what_another_writer_or_a_start_causes_is_tried_again(message: str, status: int, reason: str) -> None:
    error = create_refused(refused(message, status, reason), SPEC, "stf")
    assert isinstance(error, RetryableError)
    assert message in str(error)


def test_another_409_is_no_conflict_that_passes() -> None:
    assert isinstance(create_refused(refused("it is there", 409, "AlreadyExists"), SPEC, "stf"), ConfigError)


async def test_closed_connections_to_the_api_server_are_not_opened_again(tmp_path: Path) -> None:
    async with connected(Script(), tmp_path) as api:
        await api.close()
        with pytest.raises(RuntimeError, match="closed"):
            await api.call("GET", "/api/v1/pods")
