"""In which format an export is written, and where: what `--output`, `--format` and `--time` say together."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from streamforge.cli.command_errors import UsageProblem

STDOUT: Final = Path("-")


class Format(StrEnum):
    """How records are exported."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"

    @property
    def asked_for(self) -> str:
        """The format that is requested of the server."""
        return "csv" if self is Format.CSV else "jsonl"

    @property
    def called(self) -> str:
        """Its name in a sentence."""
        return {Format.CSV: "CSV", Format.JSONL: "JSON lines", Format.PARQUET: "Parquet"}[self]


class Times(StrEnum):
    """How instants are written. ms: unix milliseconds, a number. iso: `2024-08-01T12:30:00.000Z`.

    timestamp: the type of that name in a Parquet file, in milliseconds and UTC.
    """

    MS = "ms"
    ISO = "iso"
    TIMESTAMP = "timestamp"


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where an export goes and how it is written. file: None is stdout. gzip: its text is compressed."""

    form: Format
    file: Path | None = None
    gzip: bool = False
    times: Times = Times.MS

    def __str__(self) -> str:
        return f"{self.file or 'stdout'} as {self.form.called}{', compressed' if self.gzip else ''}"


_SUFFIXES = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL, ".parquet": Format.PARQUET}
_GZIP = ".gz"
_ENDINGS = ".csv, .csv.gz, .jsonl, .jsonl.gz or .parquet"


def destination(form: str | None, output: Path | None, times: str | None = None) -> Destination:
    """What the three options mean. Raises UsageProblem where one is not known or two contradict each other.

    The format is that of the file's suffix. `form` is for stdout and for a file whose suffix names none; `ndjson` is
    another name of `jsonl`, as in the HTTP API. A file that ends in `.gz` is compressed.
    """
    named = None if form is None else _named(form)
    file = None if output is None or output == STDOUT else output
    if file is None:
        chosen, compressed = named or Format.CSV, False
        if chosen is Format.PARQUET:
            raise UsageProblem("a Parquet file is no text: name a file with --output FILE")
    else:
        _check(file)
        compressed = file.suffix.lower() == _GZIP
        suffix = (file.with_suffix("") if compressed else file).suffix.lower()
        chosen = _of_file(file, _SUFFIXES.get(suffix), suffix + (_GZIP if compressed else ""), named)
        if compressed and chosen is Format.PARQUET:
            raise UsageProblem(f"output {file}: a Parquet file is compressed already: let its name end in .parquet")
    return Destination(form=chosen, file=file, gzip=compressed, times=_times(times, chosen))


def _named(form: str) -> Format:
    try:
        return Format("jsonl" if form.lower() == "ndjson" else form.lower())
    except ValueError:
        raise UsageProblem(f"format {form[:40]!r} is not known: choose one of {', '.join(Format)}") from None


def _of_file(file: Path, of_suffix: Format | None, suffix: str, named: Format | None) -> Format:
    if of_suffix is None and named is None:
        why = f"its suffix {suffix} names no format" if suffix else "it has no suffix that names a format"
        raise UsageProblem(f"output {file}: {why}: let it end in {_ENDINGS}, or name a format with --format")
    if of_suffix is not None and named is not None and of_suffix is not named:
        raise UsageProblem(
            f"output {file} is a name for {of_suffix.called} and --format says {named}: leave one of them out"
        )
    return of_suffix or named or Format.CSV


def _check(file: Path) -> None:
    if file.is_dir():
        raise UsageProblem(f"output {file} is a folder: name a file in it")
    if not file.absolute().parent.is_dir():
        folder = file.parent
        raise UsageProblem(
            f"output {file}: there is no folder {folder}: make it with `mkdir -p {shlex.quote(str(folder))}`, or name "
            "another file"
        )
    if file.exists() and not file.is_file():
        raise UsageProblem(f"output {file} is no plain file: write to stdout with --output - and redirect it instead")


def _times(text: str | None, form: Format) -> Times:
    choices = (Times.MS, Times.TIMESTAMP if form is Format.PARQUET else Times.ISO)
    if text is None:
        return Times.TIMESTAMP if form is Format.PARQUET else Times.MS
    if text.lower() not in choices:
        raise UsageProblem(f"time {text[:40]!r} is not known for {form.called}: choose one of {', '.join(choices)}")
    return Times(text.lower())
