"""`debug_producer.py`: sends a command to the workers of a queue and checks what they answer."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import typer

from streamforge import wiring
from streamforge.cli import terminal
from streamforge.cli.command_errors import EXIT_FAILED, EXIT_INTERRUPTED, CliError, UsageProblem, exit_code
from streamforge.cli.interrupts import interrupts
from streamforge.cli.main import Command, run_program
from streamforge.cli.places import DATA_VARIABLE, data_directory
from streamforge.cli.probe import PONG, Answer, Happening, Heard, Missing, Probe, Report, Request, Sending, Summary
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.messages import ANY_QUEUE
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.runtime.life.environment import load, secrets_of
from streamforge_utils.runtime.life.settings import (
    CONTROL_TOPIC,
    EVENTS_TOPIC,
    ControlTopic,
    DataSettings,
    EventsTopic,
    check_word,
)
from streamforge_utils.runtime.telemetry.logs import Redactor

PROGRAM = "debug_producer.py"
_CLOSE_LIMIT_S = 5.0
_DAY_S = 86_400.0

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class BusAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bus is and what its topics are called, as every service reads it."""

    data: DataSettings
    control_topic: ControlTopic = CONTROL_TOPIC
    events_topic: EventsTopic = EVENTS_TOPIC


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what `arguments` say; returns the exit code: 0 all expected answers came, 1 not, 2 bad options or settings."""
    return run_program(app, PROGRAM, arguments)


@app.command(cls=Command)
def debug_producer(
    queue_id: Annotated[
        str, typer.Option("--queue-id", metavar="ID", help="The workflow that is meant, or * for all.")
    ],
    command: Annotated[
        str | None, typer.Option("--command", metavar="COMMAND", help="ping, stop, or any other.")
    ] = None,
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="JSON", help="The command's payload, an object.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="TARGET",
            help="Only the worker of this target is meant, and only its answers count.",
        ),
    ] = None,
    expect_pong: Annotated[bool, typer.Option("--expect-pong", help="Wait for the pong of each ping.")] = False,
    expect: Annotated[
        Literal["started", "loading", "finished", "interrupted", "error", "pong"] | None,
        typer.Option("--expect", help="Wait for this event after each command."),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", metavar="N", min=1, help="Send it so often.")] = 1,
    interval_s: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0, max=_DAY_S, help="From one to the next.")
    ] = 1.0,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.001, max=_DAY_S, help="How long an answer may take."),
    ] = 10.0,
    follow: Annotated[bool, typer.Option("--follow", help="Show all events of the queue until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """Send a command to the workers of a queue, and check what they answer.

    The bus is where the environment says, as for every service. Exit codes: 0 every expected answer came; 1 one did
    not, or the bus failed; 2 the options or settings are wrong.
    """
    if command is None and not follow:
        raise UsageProblem("nothing to do: name a --command, or --follow the events of the queue")
    if expect_pong and (command != "ping" or expect not in (None, PONG)):
        raise UsageProblem("--expect-pong goes with --command ping, and with no other --expect")
    if expect is not None and command is None:
        raise UsageProblem("--expect needs a --command that the event answers")
    if queue_id != ANY_QUEUE:
        try:
            check_word(queue_id)
        except ValueError as error:
            raise UsageProblem(f"--queue-id {queue_id[:80]!r}: {error}") from error
    request = Request(
        queue_id=queue_id,
        command=command,
        target=target,
        payload=_payload(payload),
        expect=PONG if expect_pong else expect,
        repeat=repeat,
        interval_s=interval_s,
        timeout_s=timeout_s,
        follow=follow,
    )
    address = _address(os.environ)
    redact = Redactor(secrets_of(address))
    try:
        return asyncio.run(_run(request, address, _as_json if as_json else _as_text))
    except StreamForgeError as error:
        raise CliError(redact(str(error)), exit_code(error)) from error
    except Exception as error:  # of any class: its text may hold a secret
        raise CliError(f"unexpected {type(error).__name__}: {redact(str(error))}") from error


async def _run(request: Request, address: BusAddress, report: Report) -> int:
    clock = SystemClock()
    bus = wiring.make_bus(address.data, clock=clock)
    probe = Probe(
        request, bus, report, control_topic=address.control_topic, events_topic=address.events_topic, clock=clock
    )
    with interrupts() as asked:
        work = asyncio.create_task(probe.run())
        stop = asyncio.create_task(asked.happened.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if not work.cancelled():
                await work
            if request.command is not None:
                report(probe.summary())
            if asked.count and not request.follow:
                return EXIT_INTERRUPTED
            return 0 if probe.complete else EXIT_FAILED
        finally:
            stop.cancel()
            try:
                async with asyncio.timeout(_CLOSE_LIMIT_S):
                    await bus.close()
            except (StreamForgeError, TimeoutError) as error:
                terminal.say(f"{PROGRAM}: the bus could not be closed in order: {error}")


def _as_json(one: Happening) -> None:
    told = msgspec.to_builtins(one)
    if "event" in told:
        told["event"] = {name: value for name, value in told["event"].items() if value is not None}
    print(json.dumps(told, ensure_ascii=False), flush=True)


def _as_text(one: Happening) -> None:
    match one:
        case Sending(number, command):
            whom = f"{command.queue_id}, {command.target}" if command.target else command.queue_id
            text = f"{number}: {command.command} to {whom}"
        case Answer(number, rtt_ms, event):
            took = "" if rtt_ms is None else f" after {rtt_ms:.1f} ms"
            text = f"{number}: {event.event} from {event.producer} (attempt {event.attempt}){took}"
        case Missing(number, expected, timeout_s):
            text = f"{number}: no {expected} within {timeout_s:g} s"
        case Heard(event):
            said = event.error_message or event.message
            more = f" {json.dumps(event.extra, ensure_ascii=False)}" if event.extra else ""
            text = f"{event.timestamp:.3f} {event.producer} {event.event}{': ' + said if said else ''}{more}"
        case Summary():
            text = f"{one.sent} of {one.repeat} sent"
            if one.expected is not None:
                text += f", {one.answered} answered by {one.expected}"
            if rtt := one.rtt_ms:
                text += f"; RTT p50 {rtt['p50']:.1f} ms, p99 {rtt['p99']:.1f} ms, at most {rtt['max']:.1f} ms"
        case _:
            return
    print(text, flush=True)


def _address(environ: Mapping[str, str]) -> BusAddress:
    if not environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        environ = {**environ, DATA_VARIABLE: str(data_directory(None, environ))}
    return load(BusAddress, environ, uses=())


def _payload(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise UsageProblem(f"--payload {text[:80]!r} is no JSON: {error}") from error
    if not isinstance(payload, dict):
        raise UsageProblem(f"--payload {text[:80]!r} is no JSON object")
    return payload
