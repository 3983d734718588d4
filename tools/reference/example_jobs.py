"""The example manifests in services/<name>/, from the function that makes the launcher's Jobs.

They are what the manager would post in a cluster where Kafka and ArangoDB are reached by the shipped ConfigMap and
Secrets, but without the labels by which a manager knows its own: what is made by hand is left alone by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from streamforge import wiring, workers
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.lifecycle.job_spec import job_of
from streamforge.manager.engine.lifecycle.rounds import next_attempt, next_round
from streamforge.manager.graphs.requests import GraphRequest, check_graph, workflow_of_graph
from streamforge.manager.models.requests import ModelRequest, check_model, workflow_of_model
from streamforge.manager.policy import Policy
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.all_forms import register_forms
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge.manager.workflows.series.requests import check, workflow_of
from streamforge.manager.workflows.topics.requests import TopicRequest, check_topic, workflow_of_topic
from streamforge_utils.adapters.kubernetes.manifest import job_manifest, pod_manifest
from streamforge_utils.model.kinds.registry import has_history, kinds, series_of
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.job_settings import KubernetesSettings, Pair, SecretKey, SecretVariable
from streamforge_utils.ports.launcher import JobSpec
from streamforge_utils.runtime.life.settings import DataSettings
from streamforge_utils.runtime.life.worker_definition import Source

NOTE = "# Generated from the code by `make docs`: do not edit.\n"
CODE = "abc123"
DUMMY = "dummy-service"
SHIPPED = KubernetesSettings(
    namespace="stf",
    pull_secrets=("regcred",),
    priority_class="streamforge-worker",
    node_selector=(Pair("streamforge-worker", "true"),),
    config_maps=("streamforge-worker",),
    secret_variables=(
        SecretVariable("KAFKA_PASSWORD", SecretKey("user-streamforge", "password")),
        SecretVariable("ARANGO_PASSWORD", SecretKey("arangodb-streamforge", "password")),
    ),
    kafka_ca=SecretKey("streamforge-cluster-ca-cert", "ca.crt"),
    arango_ca=SecretKey("arangodb-ca", "ca.crt"),
)
"""The names under which a cluster holds what the workers refer to."""


def manifests() -> Iterator[tuple[Path, str]]:
    """Each example by its path below the checkout, as YAML."""
    for spec in workflow_jobs():
        yield _path(spec, "job"), _yaml("", example(spec))
    yield _path(dummy("job-"), "job"), _yaml(_DUMMY.format(kind="job"), example(dummy("job-")))
    yield _path(dummy(), "pod"), _yaml(_DUMMY.format(kind="pod"), example(dummy(), pod=True))


def example(spec: JobSpec, *, pod: bool = False) -> dict[str, Any]:
    """The Job of an example, or its pod alone."""
    settings, arguments = SHIPPED, tuple[str, ...]()
    if spec.target == DUMMY:
        # It has nothing to do with the store.
        kept = tuple(one for one in SHIPPED.secret_variables if not one.variable.startswith("ARANGO"))
        settings, arguments = msgspec.structs.replace(SHIPPED, secret_variables=kept, arango_ca=None), _ARGUMENTS
    template = msgspec.structs.replace(wiring.make_template(DataSettings(), settings), arguments=arguments)
    found: dict[str, Any] = (pod_manifest if pod else job_manifest)(spec, template)
    return found


def workflow_jobs() -> list[JobSpec]:
    """A job of every worker that a manager starts: those of the first generation's workflow, which loads BTCUSDT's 1m
    candles of 2024-08-01, and of those that have no part in it one of a workflow of the first type that they take."""
    register_forms()
    found = {spec.target: spec for spec in (*_jobs("api_candles_1m"), *_topic_jobs(), *_graph_jobs(), *_model_jobs())}
    for target in workers.targets():
        types, source = workers.definition(target).types, workers.definition(target).source
        if types and target not in found:
            taken = next(one for one in (name for kind in kinds() for name in kind.types) if one.startswith(types))
            jobs = _jobs(taken, SourceChoice.ARCHIVE if source is Source.ARCHIVE else SourceChoice.AUTO)
            found[target] = next(spec for spec in jobs if spec.target == target)
    return list(found.values())


def _jobs(type_name: str, source: SourceChoice = SourceChoice.AUTO) -> list[JobSpec]:
    day = parse_time_range("2024-08-01")
    span = "2024-08-01" if has_history(series_of("BTCUSDT", type_name)) else ""
    request = check(StartRequest(symbol="BTCUSDT", type=type_name, time_range=span, source=source), day.end_ms)
    workflow = workflow_of(request, code=CODE, now_ms=day.end_ms, exchange_now_ms=day.end_ms)
    return _jobs_of(next_round(workflow, dict.fromkeys(Source, (str(day),))), day.end_ms)


def _topic_jobs() -> list[JobSpec]:
    now_ms = parse_time_range("2024-08-01").end_ms
    return _jobs_of(workflow_of_topic(check_topic(TopicRequest(topic="orders"), ()), code=CODE, now_ms=now_ms), now_ms)


def _graph_jobs() -> list[JobSpec]:
    now_ms = parse_time_range("2024-08-01").end_ms
    asked = GraphRequest(
        graph="top2",
        symbols=("BTCUSDT", "ETHUSDT"),
        type="api_candles_1h",
        time_range="2024-08-01",
        definition={"top_k": 1},
    )
    return _jobs_of(workflow_of_graph(check_graph(asked, now_ms), asked.symbols, "", code=CODE, now_ms=now_ms), now_ms)


def _model_jobs() -> list[JobSpec]:
    now_ms = parse_time_range("2024-08-01").end_ms
    asked = ModelRequest(name="top2", symbols=("BTCUSDT", "ETHUSDT"), type="api_candles_1h", time_range="2024-06")
    checked = check_model(asked, now_ms)
    return _jobs_of(workflow_of_model(checked, checked.made(asked.symbols), code=CODE, now_ms=now_ms), now_ms)


def _jobs_of(workflow: Workflow, now_ms: int) -> list[JobSpec]:
    policy = Policy()
    return [
        _by_hand(
            job_of(
                workflow,
                step,
                next_attempt(workflow, step, now_ms),
                weight_per_minute=policy.weight_per_minute,
                policy=policy,
                common={},
            )
        )
        for step in workflow.steps
    ]


def dummy(prefix: str = "") -> JobSpec:
    """dummy-service, which plays a loading for five minutes."""
    queue_id = f"wf-dummy-api_candles_1m-20240801-{CODE}"
    return JobSpec(
        name=f"{prefix}{DUMMY}-{CODE}",
        target=DUMMY,
        queue_id=queue_id,
        attempt=1,
        environment={"QUEUE_ID": queue_id},
    )


def _by_hand(spec: JobSpec) -> JobSpec:
    """Without what only its manager knows: when it was launched, that it watches over it, where a live one begins."""
    left: tuple[str, ...] = ("STREAMFORGE_LAUNCHED_AT", "STREAMFORGE_ORPHAN_SECONDS")
    if spec.endless:
        left = (*left, "STREAMFORGE_RANGES", "TIME_RANGE")
    environment = {name: value for name, value in spec.environment.items() if name not in left}
    return msgspec.structs.replace(spec, environment=environment)


_ARGUMENTS = ("--debug", "--simulate-loading", "--exit-after", "300")
_DUMMY = """\
# Plays a loading for five minutes: are the bus, its users and the metrics there? README.md tells what else it plays.
#   kubectl apply -f {kind}.yaml
#   kubectl -n stf logs -f -l queue_id=wf-dummy-api_candles_1m-20240801-abc123
"""


def _path(spec: JobSpec, kind: str) -> Path:
    return Path("services") / spec.target / f"{kind}.yaml"


def _yaml(note: str, manifest: dict[str, Any]) -> str:
    return NOTE + note + yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice, and lists indented as people do."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
