"""The command `store`: the JSON objects of another producer's topic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli.api_resources import posting
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.commands.load_commands import detached, to_the_end
from streamforge.manager import answers
from streamforge_utils.model.json_documents import SCHEMA_LIMIT
from streamforge_utils.model.topic_reading import Until


async def store(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A topic that is there; it is only read.")],
    where: o.AtManagerOrNew,
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection", metavar="NAME", help="Where documents go; without it, named after the topic and the day."
        ),
    ] = None,
    until: Annotated[
        str,
        typer.Option(
            "--until",
            metavar="WHEN",
            help="What ends it: end (where the topic ends when it begins), stop (a stop), count:N (so many messages), "
            "or marker:PRODUCER[,PRODUCER] (the end-of-stream marker of each).",
        ),
    ] = "end",
    schema: Annotated[
        Path | None,
        typer.Option(
            "--schema", metavar="FILE", help="A JSON Schema; messages that do not fit it become dead letters."
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="NAME", help="To list it under; without it, the topic's name.")
    ] = None,
    detach: o.Detach = False,
    timeout_s: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Store the JSON objects of a topic of any producer, and prove that each is stored or a dead letter.

    A document's key is the message's own `_key`, else a hash of what it holds: reading a topic twice stores it once.
    What is not a JSON object, has an impossible key, or does not match the schema becomes a dead letter with its
    reason (`streamforge dlq list QUEUE_ID`). The topic is never made, trimmed or removed.
    """
    start = posting(
        "/queues/start-topic",
        answers.Started,
        topic=topic,
        until=Until.parse(until).text,
        symbol=label,
        collection_name=collection,
        json_schema=None if schema is None else _schema(schema),
    )
    where = where.as_before()  # nothing is asked of an exchange, so that the folder's will do
    if detach:
        return await detached(where, start, as_json=as_json, loads=False)
    return await to_the_end(where, start, timeout_s=timeout_s, as_json=as_json, loads=False)


def _schema(path: Path) -> Any:
    """What the file holds. Raises UsageProblem."""
    try:
        with path.open("rb") as file:
            content = file.read(SCHEMA_LIMIT + 1)
        if len(content) > SCHEMA_LIMIT:
            raise UsageProblem(f"schema {path} is longer than {SCHEMA_LIMIT:,} bytes")
        return msgspec.json.decode(content)
    except OSError as error:
        raise UsageProblem(f"schema {path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageProblem(f"schema {path} is no JSON: {error}") from error
