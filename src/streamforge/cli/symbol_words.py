"""The symbols of a load of many: `BTCUSDT,ETHUSDT`, `*USDT`, `@symbols.txt`."""

from __future__ import annotations

from pathlib import Path

from streamforge.cli.command_errors import UsageProblem
from streamforge_utils.model.errors import InvalidInput

MOST_BYTES = 4 * 1024 * 1024
_WILD = "*?["


def is_many(text: str) -> bool:
    """Whether `text` names more than one symbol, or a pattern or a file of them."""
    return "," in text or text.startswith("@") or any(sign in text for sign in _WILD)


def words_of(text: str) -> list[str]:
    """The symbols and patterns that `text` and the files in it name. Raises UsageProblem."""
    found: list[str] = []
    for part in text.split(","):
        word = part.strip()
        if not word:
            raise UsageProblem(f"{text[:80]!r} has a comma without a symbol: write BTCUSDT,ETHUSDT")
        found += _in_file(Path(word[1:])) if word.startswith("@") else [word]
    return found


def _in_file(path: Path) -> list[str]:
    """The symbols in a file: separated by white space or commas; what follows a # is a comment."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageProblem(f"the file of symbols {str(path)!r} cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise UsageProblem(f"the file of symbols {str(path)!r} is larger than {MOST_BYTES // 1024**2} MiB: is it one?")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageProblem(f"the file of symbols {str(path)!r} is not UTF-8 text (byte {error.start})") from error
    from streamforge.manager.batches.symbol_selection import check_words  # it imports the kinds of records

    found: list[str] = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace(",", " ").split()
        try:
            for word in words:
                check_words([word])
        except InvalidInput as error:
            raise UsageProblem(f"{path}, line {number}: {error}") from error
        found += words
    if not found:
        raise UsageProblem(f"the file of symbols {str(path)!r} names none: write one a line")
    return found
