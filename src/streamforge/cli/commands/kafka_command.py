"""The command `kafka apply`: topics, users and ACLs as manifests say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from streamforge import wiring
from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import to_json
from streamforge.cli.command_errors import EXIT_FAILED, UsageProblem
from streamforge_utils.ports.provisioning import Action, Change, Provisioner
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.server_settings import KafkaSettings

_SIGNS = {
    Action.CREATE: "+",
    Action.CHANGE: "~",
    Action.REMOVE: "-",
    Action.ADOPT: "=",
    Action.UNCHANGED: " ",
    Action.FOREIGN: "!",
    Action.BLOCKED: "!",
    Action.LEFT: "?",
    Action.FORGET: "-",
}
_TOLD = {
    Action.FOREIGN: "made by somebody else, left alone",
    Action.BLOCKED: "cannot be made so",
    Action.ADOPT: "made by somebody else, taken over",
    Action.LEFT: "made here, it stays",
    Action.FORGET: "no longer noted as made here",
}


def apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with the manifests (*.yaml).")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the differences and change nothing.")] = False,
    yes: o.Yes = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over what others made under the names of the manifests.")
    ] = False,
    secrets: Annotated[
        Path,
        typer.Option(
            "--secrets",
            metavar="DIR",
            help="Where passwords lie, as in mounted Secrets: DIR/USER/password. Of a new user it is made.",
        ),
    ] = Path("kafka-secrets"),
    rotate: Annotated[
        list[str] | None,
        typer.Option("--rotate", metavar="USER", help="Give this user another password; may be given again."),
    ] = None,
    as_json: o.Json = False,
) -> int:
    """Make the topics, users and ACLs of Strimzi's manifests on a Kafka that has no operator.

    Shows the differences first, and asks. What it made it notes in the topic streamforge-kafka-apply; it changes
    nothing else, and lists what no manifest names any more. Connects as KAFKA_BOOTSTRAP_SERVERS, KAFKA_USER,
    KAFKA_PASSWORD and KAFKA_CA_PATH say.
    Exit code 0: all is as the manifests say; 1: something is not; 2: a manifest or a setting is wrong.
    """
    provisioner = _connected(folder, secrets, adopt=adopt, rotate=rotate or ())
    try:
        return _apply(provisioner, dry_run=dry_run, yes=yes, as_json=as_json)
    finally:
        provisioner.close()


def _connected(folder: Path, secrets: Path, *, adopt: bool, rotate: Sequence[str]) -> Provisioner:
    if not folder.is_dir():
        raise UsageProblem(f"{folder} is no folder: name the one that holds the manifests")
    settings = load(KafkaSettings, os.environ)
    if not settings.bootstrap_servers:
        raise UsageProblem("KAFKA_BOOTSTRAP_SERVERS is not set: name the brokers there, HOST:PORT each")
    return wiring.make_provisioner(settings, folder, secrets=secrets, adopt=adopt, rotate=rotate)


def _apply(provisioner: Provisioner, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    changes = provisioner.plan()
    notes = provisioner.notes()  # now: what is made later is no news then
    pending = [change for change in changes if change.does_something]
    if not as_json:
        _show(changes)
        for note in notes:
            terminal.say(note)
    if pending and not dry_run:
        if not yes:
            if as_json:
                raise UsageProblem(
                    "kafka apply --json shows nothing before it asks: add --yes, or --dry-run to look only"
                )
            asks = "kafka apply asks before it changes anything"
            o.confirm(f"Make these {len(pending)} changes?", asks, "nothing was changed")
        done = 0
        try:
            for done, change in enumerate(provisioner.apply(), start=1):  # noqa: B007 - counted for the error
                if not as_json:
                    terminal.say(f"{change.kind} {change.name}: done")
        except BaseException:
            terminal.say(f"{done} of {len(pending)} changes were made; the same command makes the rest")
            raise
    unlike = [change for change in changes if not change.as_wanted]
    if as_json:
        terminal.write(to_json({"applied": not dry_run, "changes": changes, "notes": notes}))
    else:
        terminal.say(_summary(len(pending), len(unlike), dry_run=dry_run))
    return EXIT_FAILED if unlike else 0


def _show(changes: Sequence[Change]) -> None:
    for change in changes:
        told = _TOLD.get(change.action)
        terminal.write(f"{_SIGNS[change.action]} {change.kind:<5} {change.name}{f'  ({told})' if told else ''}")
        if change.action is not Action.UNCHANGED:
            for line in change.details:
                terminal.write(f"          {line}")


def _summary(pending: int, unlike: int, *, dry_run: bool) -> str:
    told = f"{pending} changes {'would be' if dry_run else 'were'} made" if pending else "nothing to change"
    if unlike:
        told += f"; {unlike} things stay unlike the manifests (marked !), see --adopt"
    return told
