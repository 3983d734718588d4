"""The request of `load`, as it is sent to a manager."""

from __future__ import annotations

import secrets

import msgspec

from streamforge.cli.arguments import check_since, check_words
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.news_check import check_news
from streamforge.cli.session import Session
from streamforge.manager import start_answers
from streamforge_utils.model.kinds.registry import is_live_type


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be loaded: a range, or what came since. What was not named is left out, as an older manager knows none
    of it."""

    symbol: str
    type: str
    time_range: str | None = None
    since: str | None = None
    first: str | None = msgspec.field(name="from", default=None)
    again: bool = False
    source: str | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str] = {}

    def check(self) -> None:
        """Raises InvalidInput in the words of the API, or UsageProblem, before anything is started."""
        if self.since is None:
            if self.first is not None:
                raise UsageProblem("--from is for --since last")
            if self.time_range is None:
                check_words((self.symbol, self.type))
                if is_live_type(self.type):
                    return
                raise UsageProblem("a range is missing: write SYMBOL TYPE TIME_RANGE, or --since last")
            check_words((self.symbol, self.type, self.time_range), loading=True)
            return
        if self.time_range is not None:
            raise UsageProblem("TIME_RANGE and --since are two ranges: give one of them")
        check_since(self.symbol, self.type, self.since, self.first)

    async def start(self, found: Session) -> start_answers.Accepted:
        """Send it; sending again after a lost answer gives the same workflow. Raises NothingNew."""
        answer = await found.api.call("POST", "/queues/start", body=self, key=secrets.token_hex(16))
        check_news(found.api, answer)
        return found.api.read(answer, start_answers.Accepted)
