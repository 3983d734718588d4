"""kafka apply."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamforge.cli import options as o


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
    debug: o.Debug = False,
) -> int:
    """Make the topics, users and ACLs of Strimzi's manifests on a Kafka that has no operator.

    Shows the differences first, and asks. What it made it notes in the topic streamforge-kafka-apply; it changes
    nothing else, and says what of it no manifest names any more. Connects as KAFKA_BOOTSTRAP_SERVERS, KAFKA_USER,
    KAFKA_PASSWORD and KAFKA_CA_PATH say.
    Exit code 0: all is as the manifests say; 1: something is not; 2: a manifest or a setting is wrong.
    """
    from streamforge.cli.applying import apply as work

    o.debugging(debug)
    return work(folder, secrets=secrets, dry_run=dry_run, yes=yes, adopt=adopt, rotate=rotate or (), as_json=as_json)
