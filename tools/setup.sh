#!/usr/bin/env bash
# Makes the virtual environment, with the first Python of 3.11 to 3.14 that works, or the one that PYTHON names: the pinned dependencies, each checked against its hash, then both packages, editable.
# The dependencies are installed again only when requirements/dev.txt has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${1:-.venv}"
python="${PYTHON:-tools/python.sh}"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)
installed="$venv/.requirements"

version='import sys; print(*sys.version_info[:2], sep=".")'
if [[ $python != tools/python.sh ]]; then
    tools/python.sh --check "$python"
    wanted="$("$python" -c "$version")"
fi
made="$("$venv/bin/python" -c "import pip; $version" 2>/dev/null || true)"
case "$made" in
    3.11 | 3.12 | 3.13 | 3.14) ;;
    *) made= ;;
esac
if [[ -z $made || ${wanted:-$made} != "$made" ]]; then
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
