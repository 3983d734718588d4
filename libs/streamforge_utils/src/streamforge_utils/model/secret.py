"""What must not be shown: secret texts, and the parts of an address that may hold one."""

from __future__ import annotations

from urllib.parse import urlsplit


class Secret:
    """A text that is never shown by `repr`, `str`, a log or an error; `reveal` gives it to who needs it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


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
