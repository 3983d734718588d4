"""The errors of commands, each with its exit code."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge_utils.model.errors import ConfigError, InvalidInput, StreamForgeError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
"""The reader of stdout has closed it: 128 + SIGPIPE, as in a shell."""


class CliError(StreamForgeError):
    """The command failed; the message names the input and says what to do. exit_code: another than the class's."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code


class UsageProblem(CliError):
    """The arguments or options cannot be used."""

    exit_code = EXIT_USAGE


class Interrupted(CliError):
    """Ctrl-C. The message, if there is one, says what was left behind."""

    exit_code = EXIT_INTERRUPTED


class PipeClosed(CliError):
    """The reader of stdout has closed it; nothing is printed."""

    exit_code = EXIT_PIPE


class ServerLost(CliError):
    """No server answers at the address, or no longer."""


class ServerSilent(ServerLost):
    """The server took the request and did not answer it in time."""


class ApiProblem(CliError):
    """The server refused a request. status: HTTP; kind: the last part of the problem's type.

    meant: names that the server has and that are much like the one it does not have; the message names them too.
    next_step: what the server says to do, in the words of its API. retry_after_s: when it may be asked again.
    """

    retry_after_s: float | None = None

    def __init__(self, status: int, kind: str, message: str, meant: Sequence[str] = (), next_step: str = "") -> None:
        super().__init__(message, EXIT_USAGE if kind == "invalid-input" else EXIT_FAILED)
        self.next_step = next_step
        self.meant = tuple(meant)
        self.status = status
        self.kind = kind


def exit_code(error: StreamForgeError) -> int:
    """2 for what the user has to change in the command or the settings, 1 for what went wrong."""
    if isinstance(error, CliError):
        return error.exit_code
    return EXIT_USAGE if isinstance(error, InvalidInput | ConfigError) else EXIT_FAILED
