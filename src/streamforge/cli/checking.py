"""What doctor says of a part, and its check of the bus: files, or Kafka with its users and rights."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamforge.cli.leftovers import leftovers
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError, StreamForgeError

if TYPE_CHECKING:
    from streamforge_utils.runtime.context import MessageBus
    from streamforge_utils.runtime.kubernetes_settings import LauncherSettings


KUBERNETES_S = 20.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What one part is like. verdict: `works`, `careful` or `fails`; next_step: what to do, unless it works."""

    part: str
    verdict: str
    detail: str
    next_step: str = ""


async def check_bus(folder: Path, probe: Path) -> Check:
    """Whether messages get through. folder: of the data; probe: one to try things in. Raises what it fails with."""
    from streamforge import wiring
    from streamforge_utils.runtime.environment import load
    from streamforge_utils.runtime.kafka_settings import KafkaSettings
    from streamforge_utils.runtime.settings import DataSettings

    kafka = load(KafkaSettings, os.environ)
    bus = wiring.make_bus(DataSettings(data_dir=probe, kafka=kafka))
    try:
        if not kafka.bootstrap_servers:
            told = await _round_trip(bus)
            if (folder / wiring.BUS).is_dir():
                count = await _look_into_topics(folder)
                told += f"; {count} topic{'' if count == 1 else 's'}"
                if left := (await leftovers(folder)).told:
                    told += f"; {left}"
            return Check(part="bus", verdict="works", detail=told)
        user = f", as user {kafka.user}" if kafka.user else ""
        where = f"Kafka at {kafka.bootstrap_servers} ({kafka.protocol}{user})"
        refused: Exception | None = None
        try:
            told = await _round_trip(bus)
        except (ConfigError, PermanentError) as error:
            told, refused = str(error), error
        names = await bus.topics()
        missing = sorted(_talked_on() - set(names))
        if refused is None and not missing:
            return Check(part="bus", verdict="works", detail=f"{where}: {told}; {len(names)} topics")
        if refused is None:
            return Check(
                part="bus",
                verdict="careful",
                detail=f"{where}: {told}; this user sees no topic {' and no topic '.join(missing)}",
                next_step="the first manager makes them if its user may; if they are to be there, check "
                "QUEUE_CONTROL_TOPIC, QUEUE_EVENTS_TOPIC and the user's ACLs",
            )
        if missing:
            raise refused
        return Check(
            part="bus",
            verdict="careful",
            detail=f"{where}: it is reached and the topics of commands and events are there, but {told}",
            next_step="right for a user of the manager or of the workers alone; one for everything needs what "
            "cred-kafka-yaml/user-streamforge.yaml lists",
        )
    finally:
        await bus.close()


async def check_kubernetes(launching: LauncherSettings, folder: Path) -> AsyncIterator[Check]:
    """Whether workers can be Jobs of the cluster: it, the rights, Pod Security, and what they refer to."""
    from streamforge import wiring
    from streamforge.manager.app import worker_environment
    from streamforge.manager.settings import load_manager
    from streamforge_utils.runtime.environment import read
    from streamforge_utils.runtime.kafka_settings import KafkaSettings
    from streamforge_utils.runtime.kubernetes_settings import KUBERNETES, LAUNCHER, OUT_OF_REACH, REACH_STEP
    from streamforge_utils.runtime.settings import DataSettings

    kafka = read(KafkaSettings, os.environ, []) or KafkaSettings()
    data = DataSettings(data_dir=folder, kafka=kafka)
    where = {LAUNCHER: KUBERNETES, "STREAMFORGE_DATA_DIR": str(folder)}
    try:
        environment = worker_environment(load_manager({**os.environ, **where}))
    except ConfigError:
        environment = {}  # which settings are wrong is told by the check of them
    try:
        examiner = wiring.make_examiner(data, launching.kubernetes, environment=environment)
    except StreamForgeError as error:
        yield Check(part="launcher", verdict="fails", detail=str(error))
        return
    part = "launcher"
    try:
        async with asyncio.timeout(KUBERNETES_S):
            async for found in examiner.examine():
                part = found.part
                yield Check(part=part, verdict=found.verdict, detail=found.detail, next_step=found.next_step)
    except TimeoutError:
        yield Check(part=part, verdict="fails", detail=f"no answer within {KUBERNETES_S:.0f} s")
    except (StreamForgeError, OSError) as error:
        yield Check(part=part, verdict="fails", detail=str(error))
    finally:
        await examiner.close()
    if not kafka.bootstrap_servers and not launching.kubernetes.data_claim:
        yield Check(
            part="reach",
            verdict="careful",
            detail=OUT_OF_REACH.format(folder=folder),
            next_step=REACH_STEP,
        )


async def _round_trip(bus: MessageBus) -> str:
    """Send a message through a topic of its own, which is removed again; says how long that took."""
    from streamforge_utils.ports.bus import Message, Retention, TopicSpec

    # On brokers that others use too it must be nobody's, and have a name that a manager may make.
    name = f"wf-doctor-{secrets.token_hex(4)}"
    began = time.perf_counter()
    await bus.create_topic(TopicSpec(name=name, retention=Retention.ROLLING, max_bytes=1024**2))
    try:
        consumer = await bus.consumer([name], group=name)
        producer = await bus.producer()
        await producer.send(name, [Message(key=b"k", value=b"v")])
        received = await consumer.poll(1, 10.0)
        await consumer.close()
    finally:
        await bus.delete_topic(name)
    if [message.value for message in received] != [b"v"]:
        raise RetryableError("a message that was sent was not received within 10 s; see to the brokers, then try again")
    return f"a message was sent and received in {(time.perf_counter() - began) * 1000:.0f} ms"


def _talked_on() -> set[str]:
    """The topics of commands and of events."""
    from streamforge_utils.runtime.settings import CONTROL_TOPIC, EVENTS_TOPIC

    return {
        os.environ.get("QUEUE_CONTROL_TOPIC") or CONTROL_TOPIC,
        os.environ.get("QUEUE_EVENTS_TOPIC") or EVENTS_TOPIC,
    }


async def _look_into_topics(folder: Path) -> int:
    """How many topics there are. Raises what opening those fails with that every manager needs."""
    from streamforge import wiring
    from streamforge_utils.runtime.settings import DataSettings

    bus = wiring.make_bus(DataSettings(data_dir=folder))
    try:
        names = await bus.topics()
        for name in sorted(_talked_on().intersection(names)):
            consumer = await bus.consumer([name])  # without a group it leaves no trace
            await consumer.poll(1, 0.0)
        return len(names)
    finally:
        await bus.close()
