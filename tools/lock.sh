#!/usr/bin/env bash
# Resolves the dependencies of both packages into hash-pinned requirements files, for Python 3.11 to 3.14 on Linux and
# macOS: a pin has the hash of every file of its version. `make lock-check` shows that they can be had.
# The files name no index, so they install from whichever one the machine is set up for.
#   requirements/base.txt   what the services need to run
#   requirements/dev.txt    the same pins, and what tests, checks and benchmarks need
#   requirements/graph.txt  of these, what images of graphs add
#   requirements/bench.txt  what the benchmarks compare with, for an environment of its own
#   requirements/*.in       each into a .txt of its name, for further environments of their own; without what a .excludes
#                           of its name lists
# Pins that still fit are kept; UPGRADE=1 takes the newest of each. Uses `uv` if it is there, else a throw-away copy.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
uv="$(command -v uv || true)"
if [[ -z $uv ]]; then
    echo "lock: fetching uv into a throw-away environment"
    "${PYTHON:-tools/python.sh}" -m venv "$scratch"
    "$scratch/bin/python" -m pip --disable-pip-version-check install -q 'uv>=0.9'
    uv="$scratch/bin/uv"
fi
options=(--quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
    --no-emit-package streamforge-utils ${UPGRADE:+--upgrade})
echo "lock: requirements/base.txt"
"$uv" pip compile "${options[@]}" pyproject.toml -o requirements/base.txt >/dev/null
echo "lock: requirements/dev.txt"
"$uv" pip compile "${options[@]}" --extra graph --extra parquet --extra tls --group dev -c requirements/base.txt pyproject.toml \
    -o requirements/dev.txt >/dev/null
echo "lock: requirements/graph.txt"
awk '/^[^ ]/ { kept = /^(numpy|pyarrow)==/ } kept' requirements/dev.txt >requirements/graph.txt
echo "lock: requirements/bench.txt"
grep -E '^msgspec==' requirements/base.txt | tr -d ' \\' >"$scratch/same.txt"
"$uv" pip compile "${options[@]}" -c "$scratch/same.txt" requirements/bench.in -o requirements/bench.txt >/dev/null
for wanted in requirements/*.in; do # environments of their own, which share no pin with the services
    [[ $wanted == requirements/bench.in ]] && continue
    echo "lock: ${wanted%.in}.txt"
    excludes=${wanted%.in}.excludes
    [[ -e $excludes ]] && excludes=(--excludes "$excludes") || excludes=()
    "$uv" pip compile "${options[@]}" "${excludes[@]}" "$wanted" -o "${wanted%.in}.txt" >/dev/null
done
if grep -nE '://|^ *-(i|-index|-extra|-find|e) ?' requirements/*.txt; then
    echo "lock: a pin names an address or a path (above); it must come from the configured index by name" >&2
    exit 1
fi
