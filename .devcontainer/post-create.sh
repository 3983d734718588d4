#!/usr/bin/env bash
# Runs once, when the container has been made: from a fresh checkout to a green `make test`.
# STREAMFORGE_POST_CREATE_ARGS goes to pytest (-k names: fewer tests).
set -euo pipefail
cd "$(dirname "$0")/.."
# Volumes are root's at first.
for folder in .venv build; do
    if [[ -d $folder && ! -w $folder ]]; then sudo chown "$(id -u):$(id -g)" "$folder"; fi
done
make setup
make test ARGS="${STREAMFORGE_POST_CREATE_ARGS:-}"
echo "post-create: StreamForge is ready: try make demo"
