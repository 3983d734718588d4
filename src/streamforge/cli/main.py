"""The entry point of `streamforge`: runs a command, and turns an error into a message and an exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import typer

from streamforge.cli import terminal
from streamforge.cli.command_errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PIPE, EXIT_USAGE, PipeClosed, exit_code
from streamforge.cli.command_table import PROGRAM, root
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.plugins import load_plugins


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (or the process's) name; returns the exit code."""
    return run_program(root, PROGRAM, arguments)


def run_program(program: Callable[..., Any], name: str, arguments: Sequence[str] | None) -> int:
    """Run the command of `program` that `arguments` (or the process's) name; returns the exit code.

    A command that fails says why on stderr; one of `streamforge` with `--json`, where it printed nothing, also as one
    object on stdout.
    """
    terminal.debugging(False)
    terminal.wrote(nothing_yet=True)
    given = sys.argv[1:] if arguments is None else list(arguments)
    fail = partial(_failed, as_json=program is root and "--json" in given, command=name)
    try:
        load_plugins(os.environ)
        code = program(args=given, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        return _usage(error, given, fail)
    except typer.Abort:
        return fail("nothing was done", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (PipeClosed, BrokenPipeError):
        # Nothing more can be written, not even by the interpreter on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_PIPE
    except StreamForgeError as error:
        if terminal.debugging():
            traceback.print_exc()
        return fail(str(error), exit_code(error))
    except Exception as error:  # of any class: the user gets a message
        if terminal.debugging():
            traceback.print_exc()
        return fail(f"unexpected {type(error).__name__}: {error}; run it again with --debug to see where", EXIT_FAILED)


def _usage(error: typer.TyperException, given: Sequence[str], fail: Callable[..., int]) -> int:
    from streamforge.cli.arguments import message_of  # it imports the kinds of records

    if type(error).__name__ == "NoArgsIsHelpError":
        # Who names no command wants to know which there are.
        if text := error.format_message():
            sys.stdout.write(text + "\n")
        return EXIT_USAGE
    context = getattr(error, "ctx", None)
    named = {} if context is None else {"command": context.command_path}
    program = named.get("command", PROGRAM)
    return fail(f"{message_of(error, given)} (see `{program} --help`)", error.exit_code, **named)


def _failed(message: str, code: int, *, as_json: bool, command: str) -> int:
    if message:
        print(f"{command}: {message}", file=sys.stderr)
    if as_json and not terminal.wrote():
        terminal.write(json.dumps({"status": "error", "error": message, "exit_code": code}, ensure_ascii=False))
    return code
