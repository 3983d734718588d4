"""What others may see of a manager's settings (no secret, of addresses the place alone), and its bus and store."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated

import msgspec

from streamforge_utils.model.secret import shown_address
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.environment import Variable, variables
from streamforge_utils.runtime.life.settings import DataSettings

_LONGEST = 300


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of the manager."""

    name: Annotated[str, msgspec.Meta(description="Its environment variable.", examples=["STREAMFORGE_MAX_RUNNING"])]
    value: Annotated[
        str | None,
        msgspec.Meta(
            description="As it is set, of an address scheme, host and port; none: it is not set, or not to be shown.",
            examples=["4"],
        ),
    ]
    origin: Annotated[
        str,
        msgspec.Meta(
            description="environment: it is set there, or by an option of the command that started the manager.",
            extra_json_schema={"enum": ["environment", "default"]},
        ),
    ]
    secret: Annotated[bool, msgspec.Meta(description="Whether it is a secret, which is never shown.")]
    default: Annotated[str, msgspec.Meta(description="What counts where it is not set; may be empty.", examples=["8"])]
    unit: Annotated[str, msgspec.Meta(examples=["workflows"])]
    meaning: Annotated[str, msgspec.Meta(examples=["workflows that run at once; others wait"])]


def shown_settings(kind: type[msgspec.Struct], environ: Mapping[str, str]) -> tuple[Setting, ...]:
    """Each setting of the struct `kind`, as it is read from `environ`."""
    return tuple(
        Setting(
            name=one.name,
            value=_shown(one, environ.get(one.name, "")),
            origin="environment" if environ.get(one.name) else "default",
            secret=one.secret,
            default=one.default,
            unit=one.unit,
            meaning=one.meaning,
        )
        for one in variables(kind)
    )


def _shown(of: Variable, text: str) -> str | None:
    if not text or of.secret:
        return None
    if "://" in text:
        return ", ".join(shown_address(one) for one in text.split(","))[:_LONGEST]
    return None if of.unseen else text[:_LONGEST]


async def technologies(settings: DataSettings, store: Store) -> dict[str, str]:
    """By `bus` and `store`. store: the one that the settings name. Raises as `Store.connect`."""
    files = f"files (SQLite {sqlite3.sqlite_version})"
    bus = f"Kafka (confluent-kafka {version('confluent-kafka')})" if settings.kafka.bootstrap_servers else files
    server = getattr(store, "version", None)  # a database has one of its own
    return {"bus": bus, "store": files if server is None else f"ArangoDB {await server()}"}
