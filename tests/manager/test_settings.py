"""The manager's settings: what it refuses to start with."""

from __future__ import annotations

import pytest

from streamforge.manager.settings import load_manager
from streamforge_utils.model.errors import ConfigError

DATA = {"STREAMFORGE_DATA_DIR": "/nowhere"}


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="STREAMFORGE_EXCHANGE_URL: it holds a user or a password") as refused:
        load_manager({**DATA, "STREAMFORGE_EXCHANGE_URL": "http://127.0.0.1:1,https://me:hush-hush@host.example/"})
    assert "hush-hush" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://api.binance.com",
        "https://DATA-API.binance.vision:443/x",
        "http://127.0.0.1:1,https://api.binance.us",
    ],
)
def test_more_weight_than_binance_allows_is_refused_where_binance_is_asked(url: str) -> None:
    environ = {**DATA, "STREAMFORGE_EXCHANGE_URL": url}
    load_manager({**environ, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "6000"})
    with pytest.raises(ConfigError, match="STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE: 6001 is more than the 6000"):
        load_manager({**environ, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "6001"})


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://binance.com.example"])
def test_another_exchange_may_be_asked_for_more(url: str) -> None:
    load_manager({**DATA, "STREAMFORGE_EXCHANGE_URL": url, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000"})
