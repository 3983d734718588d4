"""The glossary has every word that a program of ours prints, and each term has its Russian word."""

from __future__ import annotations

import re

import pytest

from streamforge import workers
from streamforge.cli.terminal import VERDICTS
from streamforge_utils.runtime.life.worker_definition import Role
from tests.places import ROOT

TEXT = (ROOT / "docs" / "glossary.md").read_text("utf-8")
ROWS = [
    line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ") and "по-русски" not in line
]
STATUSES = ("pending", "running", "stopping", "finished", "interrupted", "error")
EVENTS = ("started", "loading", "finished", "interrupted", "error", "pong")
COMMANDS = ("start", "stop", "ping", "budget", "takeover", "simulate-loading", "fail-after")
SEED = (
    # which its glossary names
    *("рабочий процесс", "задание", "разделение", "идемпотентность"),
    # manifests
    *("секрет Kubernetes", "ConfigMap", "селектор узлов", "манифест", "пространство имён"),
    # the pipeline
    *("конвейер CI/CD", "единый базовый образ", "микросервис", "wheel", "общий шаблон", "реестр образов"),
    *("сборка без демона", "`kaniko`", "контекст сборки", "кэш слоёв образа", "модульный тест", "интеграционный тест"),
    # deployment and operation
    *("развёртывание", "мониторинг", "резервное копирование", "обновление"),
    # tests and the developer's environment
    *("диагностический и симуляционный микросервис", "CLI для внедрения команд и проверки ответов", "событие"),
    *("имитация нагрузки", "имитация сбоев", "метрики Prometheus", "среда разработки `devcontainer`"),
    *("`kubectl`", "Helm", "центр сертификации"),
    # Kafka's resources
    *("тема", "тема `queue-control`", "тема `queue-events`", "список контроля доступа", "учётные данные"),
    *("оператор Strimzi",),
    # debugging
    *("JupyterHub", "управление простаивающими серверами", "фиктивная аутентификация", "под", "узел", "Ingress"),
    *("гарантированное выделение памяти", "постоянный том", "секрет `regcred`"),
)
"""What the first description of StreamForge calls its terms, each in the nominative."""
OURS = (
    *("alert", "backup", "dashboard", "digest", "DLQ", "lag", "lease", "NetworkPolicy", "overlay", "probe", "quota"),
    *("restore", "rollback", "runbook", "SBOM", "ServiceAccount", "upgrade", "weight"),
)
"""What the manuals say without a word of explanation where they say it."""


@pytest.mark.parametrize("word", [*workers.targets(), *VERDICTS, *STATUSES, *EVENTS, *COMMANDS])
def test_a_word_that_programs_read_is_explained(word: str) -> None:
    assert f"`{word}`" in TEXT


@pytest.mark.parametrize("role", list(Role))
def test_a_role_is_a_term(role: Role) -> None:
    assert [row for row in ROWS if row[0] == role.value]


@pytest.mark.parametrize("word", SEED)
def test_the_words_of_the_first_description_are_terms(word: str) -> None:
    assert [row for row in ROWS if word in re.split(", | \\(", row[1])]


@pytest.mark.parametrize("word", OURS)
def test_the_words_of_the_manuals_are_terms(word: str) -> None:
    assert [row for row in ROWS if word in row[0].split(", ")]


def test_every_term_has_a_russian_word_and_a_meaning_and_groups_are_sorted() -> None:
    assert len(ROWS) > 105
    assert [row for row in ROWS if len(row) != 3 or not all(row)] == []
    for group in TEXT.split("\n## ")[1:]:
        terms = re.findall(r"^\| `?([^|`]+)`?[^|]* \|", group, re.MULTILINE)[1:]
        assert terms == sorted(terms, key=str.lower), group.splitlines()[0]
