"""`debug_producer.py`: sends a command to the workers of a queue and checks what they answer."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from streamforge import wiring
from streamforge.cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PIPE, EXIT_USAGE, UsageProblem, exit_code
from streamforge.cli.places import DATA_VARIABLE, data_directory
from streamforge.cli.probing import PONG, Probe, Request, Result, percentile
from streamforge_utils.model.commands import ANY_QUEUE, Command
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.events import Event
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.runtime.environment import load, secrets_of, variable
from streamforge_utils.runtime.logs import Redactor
from streamforge_utils.runtime.settings import CONTROL_TOPIC, EVENTS_TOPIC, DataSettings, check_queue_id

PROGRAM = "debug_producer.py"
_EVENTS = ("started", "loading", "finished", "interrupted", "error", PONG)
_CLOSE_LIMIT_S = 5.0


class BusAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bus is and what its topics are called, as every service reads it."""

    data: DataSettings
    control_topic: Annotated[str, variable("QUEUE_CONTROL_TOPIC", "the topic of commands")] = CONTROL_TOPIC
    events_topic: Annotated[str, variable("QUEUE_EVENTS_TOPIC", "the topic of events")] = EVENTS_TOPIC


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Do what `arguments` say; returns the exit code: 0 all expected answers came, 1 not, 2 bad options or settings."""
    environ = os.environ if environ is None else environ
    redact = Redactor()
    try:
        given = _parser().parse_args(arguments)
        request = _request(given)
        address = _address(environ)
        redact = Redactor(secrets_of(address))
        return asyncio.run(_run(request, address, Lines() if given.json else Text()))
    except BrokenPipeError:
        # Nothing more can be written, not even by the interpreter on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_PIPE
    except StreamForgeError as error:
        print(f"{PROGRAM}: {redact(str(error))}", file=sys.stderr)
        return exit_code(error)
    except Exception as error:  # of any class: a person gets a sentence
        print(f"{PROGRAM}: unexpected {type(error).__name__}: {redact(str(error))}", file=sys.stderr)
        return EXIT_FAILED


async def _run(request: Request, address: BusAddress, report: Text) -> int:
    clock = SystemClock()
    bus = wiring.make_bus(address.data, clock=clock)
    probe = Probe(
        request,
        bus,
        report,
        control_topic=address.control_topic,
        events_topic=address.events_topic,
        clock=clock,
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    work = asyncio.create_task(_connect_and_run(probe, report))
    stop = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
        if not work.cancelled():
            await work
        if request.command is not None:
            report.summary(request, probe.result)
        if stopped.is_set() and not request.follow:
            return EXIT_INTERRUPTED
        return 0 if probe.complete else EXIT_FAILED
    finally:
        stop.cancel()
        try:
            async with asyncio.timeout(_CLOSE_LIMIT_S):
                await bus.close()
        except (StreamForgeError, TimeoutError) as error:
            print(f"{PROGRAM}: the bus could not be closed in order: {error}", file=sys.stderr)


async def _connect_and_run(probe: Probe, report: Text) -> None:
    await probe.connect()
    report.connected()
    await probe.run()


class Text:
    """Tells a person what happens."""

    def connected(self) -> None:
        """What is sent or said from now on is seen."""

    def sending(self, number: int, command: Command) -> None:
        """As `Report`."""
        whom = f"{command.queue_id}, {command.target}" if command.target else command.queue_id
        self._say(f"{number}: {command.command} to {whom}")

    def answered(self, number: int, event: Event, rtt_s: float | None) -> None:
        """As `Report`."""
        took = "" if rtt_s is None else f" after {rtt_s * 1000:.1f} ms"
        self._say(f"{number}: {event.event} from {event.producer} (attempt {event.attempt}){took}")

    def missing(self, number: int, expected: str, timeout_s: float) -> None:
        """As `Report`."""
        self._say(f"{number}: no {expected} within {timeout_s:g} s")

    def followed(self, event: Event) -> None:
        """As `Report`."""
        text = event.error_message or event.message
        more = f" {json.dumps(event.extra, ensure_ascii=False)}" if event.extra else ""
        self._say(f"{event.timestamp:.3f} {event.producer} {event.event}{': ' + text if text else ''}{more}")

    def summary(self, request: Request, result: Result) -> None:
        """What came of it all."""
        text = f"{result.sent} of {request.repeat} sent"
        if request.expect is not None:
            text += f", {result.answered} answered by {request.expect}"
        if result.rtts_s:
            p50, p99, most = (f"{percentile(result.rtts_s, percent) * 1000:.1f}" for percent in (50, 99, 100))
            text += f"; RTT p50 {p50} ms, p99 {p99} ms, at most {most} ms"
        self._say(text)

    def _say(self, text: str) -> None:
        print(text, flush=True)


class Lines(Text):
    """Tells a program: one JSON object a line."""

    def connected(self) -> None:
        """As in `Text`."""
        self._write(kind="connected")

    def sending(self, number: int, command: Command) -> None:
        """As `Report`."""
        self._write(kind="sending", number=number, command=msgspec.to_builtins(command))

    def answered(self, number: int, event: Event, rtt_s: float | None) -> None:
        """As `Report`."""
        self._write(kind="answer", number=number, rtt_ms=_ms(rtt_s), event=_event(event))

    def missing(self, number: int, expected: str, timeout_s: float) -> None:
        """As `Report`."""
        self._write(kind="missing", number=number, expected=expected, timeout_s=timeout_s)

    def followed(self, event: Event) -> None:
        """As `Report`."""
        self._write(kind="event", event=_event(event))

    def summary(self, request: Request, result: Result) -> None:
        """As in `Text`."""
        rtt = {f"p{percent}": _ms(percentile(result.rtts_s, percent)) for percent in (50, 99) if result.rtts_s}
        if result.rtts_s:
            rtt["max"] = _ms(max(result.rtts_s))
        self._write(
            kind="summary",
            repeat=request.repeat,
            sent=result.sent,
            expected=request.expect,
            answered=result.answered,
            rtt_ms=rtt or None,
        )

    def _write(self, **fields: Any) -> None:
        self._say(json.dumps(fields, ensure_ascii=False))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _event(event: Event) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(event).items() if value is not None}


def _address(environ: Mapping[str, str]) -> BusAddress:
    if not environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        environ = {**environ, DATA_VARIABLE: str(data_directory(None, environ))}
    return load(BusAddress, environ, uses=())


def _request(given: argparse.Namespace) -> Request:
    if given.command is None and not given.follow:
        raise UsageProblem("nothing to do: name a --command, or --follow the events of the queue")
    if given.queue_id != ANY_QUEUE:
        try:
            check_queue_id(given.queue_id)
        except ValueError as error:
            raise UsageProblem(f"--queue-id {given.queue_id[:80]!r}: {error}") from error
    expect = given.expect
    if given.expect_pong:
        if given.command != "ping" or expect not in (None, PONG):
            raise UsageProblem("--expect-pong goes with --command ping, and with no other --expect")
        expect = PONG
    if expect is not None and given.command is None:
        raise UsageProblem("--expect needs a --command that the event answers")
    return Request(
        queue_id=given.queue_id,
        command=given.command,
        target=given.target,
        payload=_payload(given.payload),
        expect=expect,
        repeat=given.repeat,
        interval_s=given.interval,
        timeout_s=given.timeout,
        follow=given.follow,
    )


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Send a command to the workers of a queue, and check what they answer.",
        epilog="The bus is where the environment says, as for every service. Exit codes: 0 every expected answer came; "
        f"{EXIT_FAILED} one did not, or the bus failed; {EXIT_USAGE} the options or settings are wrong.",
    )
    add = parser.add_argument
    add("--queue-id", required=True, metavar="ID", help="the workflow that is meant, or * for all")
    add("--command", metavar="COMMAND", help="ping, stop, or any other")
    add("--payload", metavar="JSON", help="the command's payload, an object")
    add("--target", metavar="TARGET", help="only the worker of this target is meant, and only its answers count")
    add("--expect-pong", action="store_true", help="wait for the pong of each ping")
    add("--expect", metavar="EVENT", choices=_EVENTS, help=f"wait for this event after each command: {_or(_EVENTS)}")
    add("--repeat", metavar="N", type=_count, default=1, help="send it so often")
    add("--interval", metavar="SECONDS", type=_seconds, default=1.0, help="from one to the next (default 1)")
    add(
        "--timeout",
        metavar="SECONDS",
        type=_some_seconds,
        default=10.0,
        help="how long an answer may take (default 10)",
    )
    add("--follow", action="store_true", help="show all events of the queue until Ctrl-C")
    add("--json", action="store_true", help="print one JSON object a line")
    return parser


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number of seconds from 0 to 86400")
    return seconds


def _some_seconds(text: str) -> float:
    if not (seconds := _seconds(text)):
        raise argparse.ArgumentTypeError("0 s is no time to wait for an answer")
    return seconds
