"""Log lines: their form, secrets, and how few of what others send."""

from __future__ import annotations

import io
import json

from streamforge_utils.model.messages import Command, encode_command
from streamforge_utils.ports.bus import Message
from streamforge_utils.runtime.telemetry.logs import LogThrottle, Redactor, TextRedactor, make_log
from tests.doubles.manualclock import ManualClock
from tests.runtime.rig import CONTROL, QUEUE, Ctx, Rig, worker


def test_the_first_of_a_kind_passes_and_then_one_in_a_while_with_how_many_did_not() -> None:
    clock = ManualClock(0)
    throttle = LogThrottle(clock, every_s=10)
    assert [throttle.admit("a") for _ in range(3)] == [0, None, None]
    assert throttle.admit("b") == 0
    clock.advance(9)
    assert throttle.admit("a") is None
    clock.advance(1)
    assert [throttle.admit(kind) for kind in "aab"] == [3, None, 0]


async def test_commands_that_nobody_understands_are_logged_without_filling_the_log(rig: Rig) -> None:
    dances = [Message(b"k", encode_command(Command(command="dance", queue_id=QUEUE))) for _ in range(200)]
    await rig.send(CONTROL, [*dances, *(Message(b"k", b"rubbish") for _ in range(200))])
    await rig.command("ping")

    async def run(_: Ctx) -> None:
        await rig.until_event("pong")

    supervisor = rig.supervisor(worker(run))
    assert await supervisor.run() == 0
    lines = [json.loads(line) for line in rig.logs.getvalue().splitlines()]
    warned = [(line["kind"], line["not_logged_before"]) for line in lines if line["level"] == "warning"]
    assert warned == [("unknown", 0), ("invalid", 0)]
    assert any("dance" in str(line.get("command")) for line in lines)
    counted = supervisor._metrics.text().decode()
    for kind in ("unknown", "invalid"):
        assert f'streamforge_commands_total{{command="{kind}",target="dummy"}} 200.0' in counted


def test_a_line_is_one_json_object_with_what_is_bound_and_without_secrets() -> None:
    stream = io.StringIO()
    log = make_log(form="json", stream=stream, redactor=Redactor(["hush-hush"]), queue_id="wf-1", attempt=2)
    log.debug("not shown")
    try:
        raise RuntimeError("GET /?key=hush-hush")
    except RuntimeError as error:
        log.error("failed for hush-hush", exc_info=error, url="http://x/?hush-hush", extra={"k": ["hush-hush"]})
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["queue_id"], found["attempt"], found["level"]) == ("wf-1", 2, "error")
    assert found["event"] == "failed for ***"
    assert "RuntimeError" in found["exception"]
    assert "hush-hush" not in line


def test_the_console_form_is_for_people() -> None:
    stream = io.StringIO()
    make_log(form="console", debug=True, stream=stream, target="sink").debug("seen", records=3)
    assert "seen" in stream.getvalue()
    assert "records=3" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_texts_of_others_lose_secrets_however_they_are_written_and_what_looks_like_a_credential() -> None:
    redact = TextRedactor(['p"w d/é', "abc"])
    assert redact('p"w d/é and "p\\"w d/\\u00e9" and p%22w%20d%2F%C3%A9, abc') == '*** and "***" and ***, abc'
    for text, shown in (
        ("redis://user:hidden@host/1", "redis://user:***@host/1"),
        ("redis://user:hid/d@n@host/1", "redis://user:***@host/1"),
        ("aws_secret_access_key: hidden12 passphrase=hunter22", "aws_secret_access_key: *** passphrase=***"),
        ("Authorization: Bearer abcdefgh.12", "Authorization: Bearer ***"),
        ('{"kafka_password": "hunter22", "n": 1}', '{"kafka_password": "***", "n": 1}'),
        ("?api_key=12345678&x=1", "?api_key=***&x=1"),
        ("http://host:8080/path and KAFKA_PASSWORD is missing", None),
    ):
        assert redact(text) == (text if shown is None else shown)
