#!/bin/sh
# run-tests [ARGUMENTS OF PYTEST]: runs tests of the checkout in the current folder with what this image has. Nothing is
# installed, and nothing is written to the checkout; what a program asks of its own package is made beside it.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3.11 -c 'import sys; from hatchling import build; build.prepare_metadata_for_build_wheel(sys.argv[1])' "$scratch"
PYTHONPATH="$scratch:$PWD/src:$PWD/libs/streamforge_utils/src" HYPOTHESIS_STORAGE_DIRECTORY="$scratch/hypothesis" \
    python3.11 -m pytest -p no:cacheprovider "$@"
