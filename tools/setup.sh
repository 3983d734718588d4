#!/usr/bin/env bash
# Makes the virtual environment: the pinned dependencies, each checked against its hash, then both packages, editable.
# The dependencies are installed again only when requirements/dev.txt has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${1:-.venv}"
python="${PYTHON:-python3.11}"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)
installed="$venv/.requirements"

if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
    echo "setup: $python is not Python 3.11; name one: make setup PYTHON=/path/to/python3.11" >&2
    exit 2
fi
if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    echo "setup: making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv" # the folder itself stays: it may be a volume
fi
if ! cmp -s requirements/dev.txt "$installed"; then
    echo "setup: installing $(grep -c '==' requirements/dev.txt) pinned packages (about a minute)"
    "${pip[@]}" install -q --require-hashes --no-deps --only-binary :all: -r requirements/dev.txt
    cp requirements/dev.txt "$installed"
fi
echo "setup: installing streamforge_utils and streamforge, editable"
"${pip[@]}" install -q --no-build-isolation --no-deps --no-index -e libs/streamforge_utils -e .
echo "setup: done; try: make demo"
