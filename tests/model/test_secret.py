"""What of an address is shown."""

from __future__ import annotations

import pytest

from streamforge_utils.model.secret import shown_address


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://data-api.binance.vision", "https://data-api.binance.vision"),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
        ("http://[::1]:9000/a", "http://[::1]:9000"),
        (" https://user:secret@proxy.example:8443/key/secret?token=secret#secret", "https://proxy.example:8443"),
        ("https://proxy.example?token=secret", "https://proxy.example"),
        ("secret", "(no address)"),
        ("http://host:secret/", "(no address)"),
        ("http://[secret", "(no address)"),
        ("//host/secret", "(no address)"),
        ("", "(no address)"),
    ],
)
def test_only_scheme_host_and_port_are_shown(url: str, shown: str) -> None:
    assert shown_address(url) == shown
