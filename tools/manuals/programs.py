"""Every command on a page can be run: its program is there, and so are its verbs, options, modules and files."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from tools.manuals import naming, shell
from tools.manuals.reading import Block, Finding, Page
from tools.manuals.repository import Repository

KNOWN = Path(__file__).with_name("known-programs.txt")


def _known(*sections: str) -> frozenset[str]:
    """The words of these sections of known-programs.txt."""
    parts = re.split(
        r"^\[(\w+)\]$", re.sub(r"^#.*$", "", KNOWN.read_text("utf-8"), flags=re.MULTILINE), flags=re.MULTILINE
    )
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    return frozenset(word for section in sections for word in named[section].split())


OTHERS, KUBECTL, HELM = _known("system", "tools"), _known("kubectl"), _known("helm")
_OURS = {"streamforge", ".venv/bin/streamforge"}
_PYTHON = re.compile(r"^(?:.*/)?python(?:3(?:\.\d+)?)?$")
_PLACEHOLDER = re.compile(r"[…<>]|^[A-Z][A-Z0-9_/.-]*$|^\$")


def check(repository: Repository, page: Page) -> Iterator[Finding]:
    """Blocks of shell, blocks without a language that begin with a command, and commands of ours in backticks."""
    for block in page.blocks:
        if block.language in shell.LANGUAGES or (not block.language and _begins_with_a_command(block)):
            yield from _block(repository, page, block)
    for code in page.codes:
        first, _, rest = code.text.partition(" ")
        if rest and (first in _OURS or first == "make" or re.match(r"\S*python[\d.]* -m ", code.text)):
            yield from _text(repository, page, code.text.replace("…", "ANY"), code.line)


def ports(page: Page) -> frozenset[int]:
    """The ports that the page itself gives to its commands."""
    given = re.findall(r"--port[ =](\d+)|_PORT[=:] ?\"?(\d+)|port-forward [^\n]*? (\d{4,5})\b", page.text)
    return frozenset(int(port) for found in given for port in found if port)


def _begins_with_a_command(block: Block) -> bool:
    try:
        found = shell.commands(block.text)
    except shell.ShellError:
        return False
    return bool(found) and (found[0].words[0] in OTHERS | _OURS | {"make"} or bool(_PYTHON.match(found[0].words[0])))


def _block(repository: Repository, page: Page, block: Block) -> Iterator[Finding]:
    yield from _text(repository, page, block.text, block.line)


def _text(repository: Repository, page: Page, text: str, line: int) -> Iterator[Finding]:
    defined = set(re.findall(r"^\s*(\w+)\s*\(\)", text, re.MULTILINE))
    try:
        found = shell.commands(text)
    except shell.ShellError as error:
        yield Finding(page.path, line, f"cannot be read as shell: {error}")
        return
    for command in found:
        if command.words[0] not in defined:
            for problem in problems(repository, page, command.words):
                yield Finding(page.path, line + command.line, problem)


def problems(repository: Repository, page: Page, words: Sequence[str]) -> Iterator[str]:
    """What is wrong with one command."""
    program, arguments = words[0], list(words[1:])
    if program in _OURS:
        yield from _streamforge(arguments)
    elif program == "make":
        yield from _make(repository, arguments)
    elif _PYTHON.match(program):
        yield from _python(repository, page, arguments)
    elif program == "kubectl":
        yield from _kubectl(repository, page, arguments)
    elif program == "helm":
        verb = next((word for word in arguments if not word.startswith("-")), None)
        if verb is not None and verb not in HELM and not _PLACEHOLDER.search(verb):
            yield f"helm has no command {verb!r}"
    elif program.startswith(".venv/bin/"):
        if not (repository.root / program).exists():
            yield f"there is no {program} after `make setup`"
    elif "/" in program and not program.startswith(("/", "~", "build/")) and not _PLACEHOLDER.search(program):
        if program.removeprefix("./") not in repository.files:
            yield f"there is no program {program}"
    elif program not in OTHERS and "/" not in program and not _PLACEHOLDER.search(program):
        yield f"{program!r} is no program that is known here (tools/manuals/known-programs.txt lists them)"


@cache
def _imported(group: Any) -> dict[str, Any]:
    commands: dict[str, Any] = group.imported()
    return commands


def _streamforge(arguments: list[str]) -> Iterator[str]:
    from streamforge.cli.main import root

    command: Any = root
    path = ["streamforge"]
    while hasattr(command, "imported"):
        if not arguments or arguments[0] in ("--help", "-h", "--version"):
            return
        name = arguments.pop(0)
        if name == "COMMAND":
            return
        if name not in command.commands:
            yield f"`{' '.join(path)}` has no command {name!r}"
            return
        command = _imported(command)[name]
        path.append(name)
    if "--help" in arguments or "-h" in arguments or "ANY" in arguments:
        return
    arguments = [word for word in arguments if not word.startswith("[")]  # "[OPTIONS]", in a line that shows the usage
    context = command.context_class(command, info_name=path[-1])
    try:
        given, rest, _ = command.make_parser(context).parse_args(args=list(arguments))
    except Exception as error:  # of a class that typer names
        yield f"`{' '.join(path)}`: {getattr(error, 'message', None) or error}"
        return
    if rest:
        yield f"`{' '.join(path)}` takes no argument {rest[0]!r}"
    # Without any argument the command, or an option of it, is only spoken of.
    wanted = [p.name for p in command.params if p.param_type_name == "argument" and p.required]
    missing = [name for name in wanted if not given.get(name)]
    if missing and missing != wanted:
        yield f"`{' '.join(path)}` lacks the argument {missing[0]}"


def _make(repository: Repository, arguments: Sequence[str]) -> Iterator[str]:
    for word in arguments:
        name, equals, value = word.partition("=")
        if word.startswith("-") or (_PLACEHOLDER.search(name) and not equals):
            continue
        if equals and name not in repository.make_variables:
            yield f"the Makefile knows no variable {name}"
        elif not equals and word not in repository.verbs:
            yield f"the Makefile has no target {word!r}"
        if equals and name == "ARGS" and "images" in arguments:
            yield from _images(value.split())
        if equals and name == "ARGS" and any(verb.startswith("test-") for verb in arguments) and "tests/" in value:
            yield "a path in ARGS narrows nothing here: the verb names its folder already, so use -k"


def _images(arguments: Sequence[str]) -> Iterator[str]:
    from tools import images

    given, rest = images.parser().parse_known_args(arguments)
    called = {image.name for image in images.images()}
    yield from (f"no image is called {name!r}" for name in given.only if name not in called)
    yield from (f"tools.images has no option {option}" for option in rest)


def _python(repository: Repository, page: Page, arguments: list[str]) -> Iterator[str]:
    while arguments and arguments[0].startswith("-") and arguments[0] not in ("-m", "-c", "-"):
        arguments.pop(0)
    if not arguments or arguments[0] in ("-c", "-"):
        return
    if arguments[0] == "-m":
        yield from _module(repository, arguments[1:])
    elif arguments[0].endswith(".py") and not naming.exists(repository, page, arguments[0]):
        yield f"there is no file {arguments[0]}"
    elif arguments[0].endswith("debug_producer.py"):
        yield from _debug_producer(arguments[1:])


def _module(repository: Repository, arguments: Sequence[str]) -> Iterator[str]:
    if not arguments:
        return
    module = arguments[0]
    if module == "app.main":
        options = {word.partition("=")[0] for word in arguments[1:] if word.startswith("--")}
        for option in sorted(options - _worker_options()):
            yield f"no worker has the option {option}"
        return
    if module == "streamforge.cli":
        yield from _streamforge(list(arguments[1:]))
        return
    path = module.replace(".", "/")
    ours = {
        f"{place}{path}{end}"
        for place in ("", "src/", "libs/streamforge_utils/src/")
        for end in (".py", "/__main__.py")
    }
    if not ours & repository.files and (
        module.split(".")[0] in ("tests", "tools", "benchmarks") or not _findable(module)
    ):
        yield f"there is no module {module}"


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@cache
def _worker_options() -> frozenset[str]:
    from streamforge import workers
    from streamforge_utils.runtime.life.worker_definition import options_of

    known = {"--debug", "--help", *(o for t in workers.targets() for o in options_of(workers.definition(t)))}
    return frozenset(known)


def _debug_producer(arguments: Sequence[str]) -> Iterator[str]:
    import typer.main

    from streamforge.cli.debug_producer import app

    known = {"--help", *(option for parameter in typer.main.get_command(app).params for option in parameter.opts)}
    for word in arguments:
        if word.startswith("--") and word.partition("=")[0] not in known:
            yield f"debug_producer.py has no option {word}"


def _kubectl(repository: Repository, page: Page, arguments: list[str]) -> Iterator[str]:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    rest = list(own)
    while rest and rest[0].startswith("-"):
        takes_value = rest[0] in ("-n", "--namespace", "--context", "--kubeconfig", "-s", "--as")
        rest = rest[2:] if takes_value else rest[1:]
    if rest and rest[0] not in KUBECTL and not _PLACEHOLDER.search(rest[0]):
        yield f"kubectl has no command {rest[0]!r}"
    for option, value in pairwise(own):
        is_file = option in ("-k", "-f", "--filename", "--kustomize") and "/" in value and not _elsewhere(value)
        if is_file and not naming.exists(repository, page, value):
            yield f"there is no {value} to apply"


def _elsewhere(path: str) -> bool:
    return path.startswith(("/", "~", "http", *naming.BUILT)) or bool(_PLACEHOLDER.search(path))
