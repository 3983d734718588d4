"""The answer to `--since last` that nothing is new: no load, and no failure either."""

from __future__ import annotations

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import Api
from streamforge.cli.coverage_text import left_lines
from streamforge.cli.session import Where
from streamforge.manager import start_answers
from streamforge_utils.model.timeranges import format_ms


class NothingNew(Exception):
    """Of what `--since last` asks for, no record is over yet."""

    def __init__(self, found: start_answers.UpToDate) -> None:
        super().__init__("nothing new")
        self.found = found

    def tell(self, where: Where, *, as_json: bool) -> int:
        """Print it; the exit code, which is that of success."""
        found = self.found
        if as_json:
            terminal.write(msgspec.json.encode(found).decode())
            return 0
        why = "the exchange has ended the series" if found.ended else "nothing after that is over yet"
        told = f"{found.symbol} {found.type} is up to date: known until {format_ms(found.until_ms)}, {why}"
        terminal.write(f"{told}; nothing was started")
        for line in left_lines(found.symbol, found.type, found.left, where):
            terminal.say(line)
        return 0


class _Said(msgspec.Struct):
    status: str = ""


def check_news(api: Api, answer: bytes) -> None:
    """Raises NothingNew where that is what the answer says."""
    if api.read(answer, _Said).status == start_answers.UP_TO_DATE:
        raise NothingNew(api.read(answer, start_answers.UpToDate))
