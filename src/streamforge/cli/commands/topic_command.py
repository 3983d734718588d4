"""The command `topics`: what lies on the bus, and how far it is read."""

from __future__ import annotations

from typing import Annotated

import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.api_resources import listed
from streamforge.manager import topic_answers

MOST_AT_ONCE = 200


async def topics(
    where: o.AtManager,
    queue_id: Annotated[
        str | None, typer.Option("--queue", metavar="QUEUE_ID", help="Those of this workflow alone.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", metavar="N", min=1, max=10_000, help="At most this many, in the order of their names."),
    ] = 200,
    as_json: o.Json = False,
) -> int:
    """List the topics of workflows: what they hold, who reads them, and the lag."""
    query = None if queue_id is None else {"queue_id": queue_id}
    found, more = await listed(
        where, "topic", topic_answers.Topic, limit, as_json=as_json, query=query, at_once=MOST_AT_ONCE
    )
    if not found:
        return 0
    terminal.table(
        ["topic", "kind", "messages", "end", "lag", "per second", "read by"],
        [
            [
                one.name,
                one.kind,
                terminal.number(one.messages),
                terminal.number(sum(partition.end for partition in one.partitions)),
                "" if one.lag is None else terminal.number(one.lag),
                "" if one.rate is None else f"{one.rate:g}",
                ", ".join(reader.step for reader in one.readers),
            ]
            for one in found
        ],
        right=("messages", "end", "lag", "per second"),
    )
    if more:
        terminal.say(f"the first {limit} are shown; see more with --limit")
    return 0
