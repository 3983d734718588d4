#!/usr/bin/env bash
# Runs the first Python of this machine that StreamForge runs on, 3.11 to 3.14, with the arguments given. One counts
# only if it starts, can make an environment and has TLS and SQLite: a name on PATH may lead to nothing, as a shim of pyenv does.
#   tools/python.sh -m venv FOLDER
#   tools/python.sh --check PYTHON     whether that one will do: exit code 0, or 2 and the reason
set -euo pipefail

judge='
import sys
if sys.implementation.name != "cpython" or not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit("it is " + sys.version.split()[0] + " (" + sys.implementation.name + "), not CPython 3.11 to 3.14")
if sys.version_info.releaselevel != "final":
    sys.exit("it is " + sys.version.split()[0] + ", which is no release")
import ensurepip, sqlite3, ssl, venv
'

if [[ ${1:-} == --check ]]; then
    python=${2:?name a Python}
    said=$("$python" -c "$judge" 2>&1) || {
        echo "setup: $python will not do: ${said##*$'\n'}" >&2
        exit 2
    }
    exit 0
fi

for name in python3.11 python3.12 python3.13 python3.14 python3 python; do
    # A name may be there more than once: behind a shim that leads to nothing, one that works.
    while read -r python; do
        if "$python" -c "$judge" >/dev/null 2>&1; then
            exec "$python" "$@"
        fi
    done < <(type -ap "$name")
done
cat >&2 <<'TEXT'
setup: no Python 3.11, 3.12, 3.13 or 3.14 on PATH that starts and has venv, ssl and sqlite3.
  Debian, Ubuntu: sudo apt install python3 python3-venv     (Debian 12, Ubuntu 24.04 and later)
  Fedora:         sudo dnf install python3
  macOS:          brew install python@3.13
  any system:     uv python install 3.13   or   pyenv install 3.13   (then as below, if it is not on PATH)
One that is elsewhere is named: make setup PYTHON=/path/to/python3.13
TEXT
exit 2
