"""What a block of shell runs: its commands, one after the other, each as words. Enough of the shell for manuals."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

LANGUAGES = ("sh", "bash", "shell", "console")
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*\+?=")
_KEYWORDS = {"if", "then", "elif", "else", "fi", "while", "until", "do", "done", "!", "{", "}", "time"}
_NO_COMMAND = {"for", "case", "esac", "in", "function", "select"}
_WRAPPERS = {"sudo", "env", "nohup", "exec", "command", "nice", "timeout", "xargs", "setsid", "watch"}
_WITH_VALUE = {
    "nice": {"-n"},
    "sudo": {"-u", "-g"},
    "xargs": {"-n", "-I", "-P"},
    "timeout": {"-k", "-s"},
    "watch": {"-n"},
}


@dataclass(frozen=True)
class Command:
    """words: the program and its arguments, without redirections. line: of the block, from 0."""

    words: tuple[str, ...]
    line: int


class ShellError(Exception):
    """A block cannot be read as shell."""


def commands(text: str) -> list[Command]:
    """Every command in `text`, also those in `$(…)`. Raises ShellError."""
    return [command for line, logical in _lines(text) for command in _commands(logical, line)]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines: continued ones joined, the bodies of here-documents left out, quotes closed."""
    rows = text.splitlines()
    at = 0
    while at < len(rows):
        start, logical = at, re.sub(r"^\s*\$ ", "", rows[at])
        at += 1
        while at < len(rows) and (logical.endswith("\\") or _open(logical)):
            logical = (logical[:-1] if logical.endswith("\\") else logical + "\n") + rows[at]
            at += 1
        for _, word in _HERE.findall(logical):
            while at < len(rows) and rows[at].strip() != word:
                at += 1
            at += 1
        yield start, logical


def _open(line: str) -> bool:
    """Whether a quote is still open at the end of `line`."""
    try:
        list(_lexer(line))
    except ValueError:
        return True
    return False


def _lexer(line: str) -> shlex.shlex:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    return lexer


def _commands(line: str, number: int) -> Iterator[Command]:
    try:
        tokens = list(_lexer(line))
    except ValueError as error:
        raise ShellError(f"{error} in {line.strip()[:60]!r}") from error
    words: list[str] = []
    skip = False
    for token in [*tokens, ";"]:
        if skip:
            skip = False
        elif token and not token.strip("();|&\n"):
            yield from _command(words, number)
            words = []
        elif token and not token.strip("<>&"):
            if words and words[-1].isdigit():
                words.pop()
            skip = True
        else:
            words.append(token)
            for inner in re.findall(r"\$\(([^()]+)\)", token):
                yield from _commands(inner, number)


def _command(words: list[str], line: int) -> Iterator[Command]:
    while words and (words[0] in _KEYWORDS or _ASSIGNMENT.match(words[0]) or words[0] == "$"):
        words = words[1:]
    if not words or words[0] in _NO_COMMAND:
        return
    if words[0] in _WRAPPERS:
        yield from _command(_wrapped(words), line)
        return
    yield Command(tuple(words), line)
    if "--" in words and words[0] == "kubectl":
        yield from _command(words[words.index("--") + 1 :], line)
    if words[0] in ("sh", "bash") and "-c" in words[:-1]:
        yield from _commands(words[words.index("-c") + 1], line)


def _wrapped(words: list[str]) -> list[str]:
    """What a wrapper such as `env` or `timeout` runs."""
    program, rest = words[0], words[1:]
    while rest and (rest[0].startswith("-") or _ASSIGNMENT.match(rest[0])):
        rest = rest[2:] if rest[0] in _WITH_VALUE.get(program, ()) else rest[1:]
    return rest[1:] if program == "timeout" else rest
