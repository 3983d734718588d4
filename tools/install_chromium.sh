#!/usr/bin/env bash
# The browser of `make test-ui`, from the system's packages where it is missing. Only root of a Debian can install it.
set -euo pipefail
if command -v chromium >/dev/null; then
    exit 0
fi
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    echo "test-ui: install chromium first (Debian: apt-get install chromium fonts-dejavu-core)" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "test-ui: installing chromium"
apt-get update -q
apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core
