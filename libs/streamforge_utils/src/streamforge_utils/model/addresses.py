"""Addresses as they may be shown: in answers, logs and errors."""

from __future__ import annotations

from urllib.parse import urlsplit


def shown_address(url: str) -> str:
    """Scheme, host and port of `url`: its user, path, query and fragment may hold a secret.

    What is no address is not repeated.
    """
    try:
        parts = urlsplit(url.strip())
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return "(no address)"
    if not scheme or not host:
        return "(no address)"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port is None else f"{scheme}://{host}:{port}"
