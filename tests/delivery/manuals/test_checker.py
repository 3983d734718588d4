"""The checker of the manuals finds each kind of thing that is not there, and leaves alone what is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.places import ROOT
from tools.manuals import naming, navigation, programs, shell
from tools.manuals.__main__ import findings
from tools.manuals.reading import Finding, Page, parse
from tools.manuals.repository import Repository

REPOSITORY = Repository(ROOT)


def _found(text: str, path: str = "docs/page.md") -> list[str]:
    page = parse(path, text)
    return [finding.text for finding in _all(page)]


def _all(page: Page) -> Iterator[Finding]:
    yield from naming.check(REPOSITORY, page, programs.ports(page))
    yield from programs.check(REPOSITORY, page)


def _linked(text: str) -> list[str]:
    pages = {"docs/page.md": parse("docs/page.md", text), "docs/index.md": parse("docs/index.md", "- [A](page.md)\n")}
    pages["docs/glossary.md"] = parse("docs/glossary.md", "# On Kafka\n\n## A `first` step\n\n## A first step\n")
    return [f.text for f in navigation.check(REPOSITORY, pages) if f.page == "docs/page.md"]


def test_the_manuals_name_nothing_that_is_not_there() -> None:
    assert [str(finding) for finding in findings(REPOSITORY)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Set `STREAMFORGE_MAX_RUNING`.", "there is no setting STREAMFORGE_MAX_RUNING"),
        ("```sh\nexport KAFKA_BOOTSTRAP=x\n```", "there is no setting KAFKA_BOOTSTRAP"),
        ("`streamforge_lag_recordz`", "there is no metric streamforge_lag_recordz"),
        ("StreamForgeManagerUp fires", "there is no alert StreamForgeManagerUp"),
        ("see `manager/workflows.py`", "there is no file manager/workflows.py"),
        ("see `deploy/overlays/staging`", "there is no file deploy/overlays/staging"),
        ("see `.devcontainer/authorized`", "there is no file .devcontainer/authorized"),
        ("see `services/*/jobs.yaml`", "there is no file services/*/jobs.yaml"),
        ("`GET /workflows`", "the HTTP API has no route GET /workflows"),
        ("`PUT /queues/{queue_id}`", "the HTTP API has no route PUT /queues/{queue_id}"),
        ("open <http://127.0.0.1:8079>", "nothing listens on port 8079 by default"),
        ("```sh\nmake tests\n```", "the Makefile has no target 'tests'"),
        ("```sh\nmake kafka SECURE=1\n```", "the Makefile knows no variable SECURE"),
        ('```sh\nmake images PUSH=1 ARGS="base lean"\n```', "no image is called 'lean'"),
        ('```sh\nmake test-engines ARGS="tests/engines/kafka -k x"\n```', "a path in ARGS narrows nothing here"),
        ("```sh\nmake images ARGS=--leen\n```", "tools.images has no option --leen"),
        ("```sh\nstreamforge lod BTCUSDT\n```", "`streamforge` has no command 'lod'"),
        ("`streamforge load A B C --wait 3`", "`streamforge load`: No such option: --wait"),
        ("`streamforge load BTCUSDT`", "`streamforge load` lacks the argument type_name"),
        ("`streamforge ping A B`", "`streamforge ping` takes no argument 'B'"),
        ("```sh\nX=1 env -i streamforge kafka aply d\n```", "`streamforge kafka` has no command 'aply'"),
        ("```sh\nkubectl -n stf aply -f x\n```", "kubectl has no command 'aply'"),
        ("```sh\nkubectl apply -k deploy/overlays/prod\n```", "there is no deploy/overlays/prod to apply"),
        ("```sh\nkubectl exec d/q -- streamforge docter\n```", "`streamforge` has no command 'docter'"),
        ("```sh\nhelm instal x\n```", "helm has no command 'instal'"),
        ("```sh\npython3.11 -m app.main --simulate\n```", "no worker has the option --simulate"),
        ("```sh\npython -m streamforge.workerz x\n```", "there is no module streamforge.workerz"),
        ("```sh\npython tests/none.py\n```", "there is no file tests/none.py"),
        (
            "```sh\npython services/dummy-service/debug_producer.py --expect-ping\n```",
            "debug_producer.py has no option --expect-ping",
        ),
        ("```sh\ntools/lock.py\n```", "there is no program tools/lock.py"),
        ("```sh\necho $(frobnicate x)\n```", "'frobnicate' is no program"),
        ("```sh\ntrue && (sleep 1 | frobnicate)\n```", "'frobnicate' is no program"),
        ("```\nmake tests\n```", "the Makefile has no target 'tests'"),
        ("Indented:\n\n    make tests\n", "the Makefile has no target 'tests'"),
        ("```sh\necho 'open\n```", "cannot be read as shell"),
    ],
)
def test_what_is_not_there_is_found(text: str, found: str) -> None:
    assert [message for message in _found(text) if message.startswith(found)], _found(text)


@pytest.mark.parametrize(
    "text",
    [
        "Set `STREAMFORGE_MAX_RUNNING`, and `STREAMFORGE_K8S_*` as you like.",
        "`streamforge_lag_records`, `streamforge_reconcile_failures_total`, the package `streamforge_utils`",
        "StreamForgeManagerDown fires",
        "`manager/workflow.py`, `services/*/job.yaml`, `services/<name>/README.md`, `deploy/overlays/dev`",
        "`format.json`, which the code writes",
        "`.devcontainer/authorized_keys`, which a person puts there and git ignores",
        "`streamforge load --launcher kubernetes` of `streamforge load`",
        "`GET /queues/{queue_id}/coverage` and `POST /queues/wf-1/stop`",
        "<http://127.0.0.1:8080> and localhost:8000",
        "```sh\nstreamforge up --port 9999 &\ncurl localhost:9999/readyz\n```",
        "```sh\nmake kafka SECURED=1   # until Ctrl-C\n```",
        '```sh\nmake images ARGS="--registry registry.example base base-lean"\n```',
        "```sh\nSTREAMFORGE_TOKEN=… streamforge load BTCUSDT api_candles_1m 2024-08-01 --server http://127.0.0.1:8080\n```",
        "```sh\ncat <<'EOF' | kubectl apply -f -\nfrobnicate: it's\nEOF\ntrue\n```",
        "```sh\nfor q in a b; do streamforge show $q >out 2>&1; done\n```",
        "```sh\nkubectl -n stf exec deployment/queue-manager -- streamforge doctor --data /tmp/doctor\n```",
        "```\na picture ──▶ of it\n```",
        "```json\n{}\n```",
    ],
)
def test_what_is_there_is_left_alone(text: str) -> None:
    assert _found(text) == []


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("[x](glossary.md)", None),
        ("[x](glossary.md#a-first-step)", None),
        ("[x](glossary.md#a-first-step-1)", None),
        ("[x](https://example.org/none)", None),
        ("[x](../services/arango-candles/job.yaml)", None),
        ("[x](glossary.md#a-last-step)", "docs/glossary.md has no heading #a-last-step"),
        ("[x](#none)", "docs/page.md has no heading #none"),
        ("[x](nowhere.md)", "the link 'nowhere.md' leads to no file: docs/nowhere.md"),
        ("[x](../deploy)", "the link '../deploy' leads to a folder, which the site cannot show"),
    ],
)
def test_links_and_anchors_lead_somewhere(link: str, found: str | None) -> None:
    assert _linked(f"# Page\n\n{link}\n") == ([found] if found else [])


def test_a_page_that_the_navigation_does_not_name_is_found() -> None:
    texts = {
        "docs/index.md": "# Index\n\n- [x](decisions/README.md)\n",
        "docs/decisions/README.md": "# Decisions\n\n- [x](batches.md)\n",
        "docs/decisions/batches.md": "# One that the folder's page lists\n",
        "docs/decisions/lost.md": "# Lost\n",
        "docs/lost.md": "# Lost\n",
    }
    pages = {path: parse(path, text) for path, text in texts.items()}
    assert [str(f).partition(":")[0] for f in navigation.check(REPOSITORY, pages)] == [
        "docs/decisions/lost.md",
        "docs/lost.md",
    ]


def test_a_finding_names_page_and_line() -> None:
    page = parse("docs/page.md", "# Page\n\nfine\n\n```sh\ntrue\n\nmake tests\n```\n")
    assert [str(finding) for finding in _all(page)] == ["docs/page.md:8: the Makefile has no target 'tests'"]


def test_shell_is_taken_apart_as_the_shell_does() -> None:
    text = "A=1 B=2 one -x 'two words' > out 2>&1 && two \\\n  --long # three\nif four; then five | six; fi\n"
    assert [" ".join(command.words) for command in shell.commands(text)] == [
        "one -x two words",
        "two --long",
        "four",
        "five",
        "six",
    ]
