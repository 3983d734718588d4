"""How long records are kept, as the setting says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge.manager.manager_settings import load_manager
from streamforge.manager.policy import RetentionRule, kept_ms
from streamforge_utils.model.errors import ConfigError
from tests.manager.support import DAY_MS


@pytest.mark.parametrize(("name", "days"), [("a_1m_x", 5), ("a_1h_x", 7), ("b=c", 1), ("other", None)])
def test_the_first_pattern_that_matches_counts(name: str, days: int | None) -> None:
    keeps = (
        RetentionRule.parse_setting("*_1m_*=5"),
        RetentionRule.parse_setting("a_*=7d"),
        RetentionRule.parse_setting("b=c=1"),
    )
    assert kept_ms(keeps, name) == (None if days is None else days * DAY_MS)


@pytest.mark.parametrize("text", ["", "5", "x=", "x=0", "x=-1", "=5", "x=y"])
def test_a_malformed_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PATTERN=DAYS"):
        RetentionRule.parse_setting(text)


def test_a_long_text_is_told_in_part() -> None:
    with pytest.raises(ValueError, match=f"^'{'x' * 80}' has not the form PATTERN=DAYS$"):
        RetentionRule.parse_setting("x" * 81)


def test_nothing_is_dropped_unexported() -> None:
    environ = {"STREAMFORGE_DATA_DIR": "/nowhere", "STREAMFORGE_RETENTION": "*=30"}
    with pytest.raises(ConfigError, match="STREAMFORGE_RETENTION_DIR is missing"):
        load_manager(environ)
    policy = load_manager({**environ, "STREAMFORGE_RETENTION_DIR": "/kept"}).policy
    assert (policy.retention, policy.retention_dir) == ((RetentionRule("*", 30),), Path("/kept"))
