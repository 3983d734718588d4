"""The entry point of `streamforge`: runs a command, and turns what went wrong into a sentence and an exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from streamforge.cli import options, output
from streamforge.cli.app import PROGRAM, app
from streamforge.cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PIPE, EXIT_USAGE, PipeClosed, exit_code
from streamforge.cli.usage import message_of
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.plugins import load_plugins

_as_json = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (or the process's) name; returns the exit code.

    A command that fails says why on stderr; with `--json`, where it printed nothing, also as one object on stdout.
    """
    options.debugging(False)
    output.wrote(nothing_yet=True)
    given = sys.argv[1:] if arguments is None else list(arguments)
    global _as_json
    _as_json = "--json" in given
    try:
        load_plugins(os.environ)
        code = app(args=given, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        return _usage(error, given)
    except typer.Abort:
        return _failed("nothing was done", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (PipeClosed, BrokenPipeError):
        # Nothing more can be written, not even by the interpreter on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_PIPE
    except StreamForgeError as error:
        if options.debugging():
            traceback.print_exc()
        return _failed(str(error), exit_code(error))
    except Exception as error:  # of any class: a person gets a sentence
        if options.debugging():
            traceback.print_exc()
        return _failed(
            f"unexpected {type(error).__name__}: {error}; run it again with --debug to see where", EXIT_FAILED
        )


def _usage(error: typer.TyperException, given: Sequence[str]) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        # Who names no command wants to know which there are.
        text = error.format_message()
        if text:
            sys.stdout.write(text + "\n")
        return EXIT_USAGE
    message = message_of(error, given)
    command = context.command_path if context is not None else PROGRAM
    return _failed(f"{message} (see `{command} --help`)", error.exit_code, command=command)


def _failed(message: str, code: int, *, command: str = PROGRAM) -> int:
    if message:
        print(f"{command}: {message}", file=sys.stderr)
    if _as_json and not output.wrote():
        output.write(json.dumps({"status": "error", "error": message, "exit_code": code}, ensure_ascii=False))
    return code


if __name__ == "__main__":
    sys.exit(main())
