"""Log lines on stderr: JSON or, for a person, console; secrets are taken out of every one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO
from urllib.parse import quote

_modules: dict[str, Any] = sys.modules
# structlog imports rich where it can, for tracebacks in color, which are not written: a fifth of a worker's start.
_rich = _modules.setdefault("rich", None)
import structlog  # noqa: E402
from structlog.typing import FilteringBoundLogger, Processor  # noqa: E402

from streamforge_utils.ports.clock import Clock  # noqa: E402

if _rich is None:
    del _modules["rich"]

Log = FilteringBoundLogger
_DEBUG, _INFO = 10, 20
_SHORTEST_SECRET = 4


class Redactor:
    """Takes secrets out of texts. A secret of fewer than 4 characters is not looked for: it would hide words."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def processor(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """As a step of structlog: every value is cleaned, of every type."""
        if self._secrets:
            for name, value in event.items():
                if not isinstance(value, (int, float, type(None))):
                    event[name] = self(value if isinstance(value, str) else str(value))
        return event


_CREDENTIALS = re.compile(
    r"""(://[^\s/:@]*:)[^\s"']+(?=@)
    | (\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}
    | ((?:passw(?:or)?d|passphrase|secret|token|signature|(?:api|access|private|secret)[_-]?key)
       ["']?\s*[:=]\s*["']?)[^\s"',;&]{4,}""",
    re.IGNORECASE | re.VERBOSE,
)


class TextRedactor(Redactor):
    """For texts of others: finds a secret also as JSON and addresses write it, and what looks like a credential."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__({form for one in secrets for form in (one, json.dumps(one)[1:-1], quote(one, safe=""))})

    def __call__(self, text: str) -> str:
        return _CREDENTIALS.sub(lambda found: f"{found[1] or found[2] or found[3]}***", super().__call__(text))


def make_log(
    *,
    form: str | None = None,
    debug: bool = False,
    redactor: Redactor | None = None,
    stream: TextIO | None = None,
    **bound: object,
) -> Log:
    """A logger that writes to `stream` (stderr).

    form: `json` or `console`; None is console on a terminal. bound: what every line carries.
    """
    stream = sys.stderr if stream is None else stream
    console = form == "console" or (form is None and stream.isatty())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        (redactor or Redactor()).processor,
        structlog.dev.ConsoleRenderer(colors=False) if console else structlog.processors.JSONRenderer(),
    ]
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_DEBUG if debug else _INFO),
        cache_logger_on_first_use=True,
    ).bind(**bound)
    return log


def use_for_libraries(log: Log) -> None:
    """Have what is logged by `structlog.get_logger()`, as adapters do for their client libraries, written by `log`."""
    structlog.configure(
        processors=[_Passing(log)],
        wrapper_class=structlog.make_filtering_bound_logger(_DEBUG),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )


class _Passing:
    """The last step of a logger that writes nothing itself."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        getattr(self._log, method)(event.pop("event", ""), **event)
        raise structlog.DropEvent


class LogThrottle:
    """Rate-limits repeated messages: the first of each kind passes, then one every `every_s` seconds."""

    def __init__(self, clock: Clock, every_s: float = 60.0) -> None:
        self._clock = clock
        self._every_s = every_s
        self._admitted_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def admit(self, kind: str) -> int | None:
        """How many of `kind` were suppressed since the last that passed; None: suppress this one too.

        There must be few kinds: each is remembered.
        """
        now = self._clock.monotonic()
        if kind in self._admitted_at and now - self._admitted_at[kind] < self._every_s:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return None
        self._admitted_at[kind] = now
        return self._suppressed.pop(kind, 0)
