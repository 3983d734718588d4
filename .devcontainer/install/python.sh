#!/usr/bin/env bash
# python3.11 for everybody: VERSION (such as 3.11.18) as uv has it, or, with `system`, the distribution's.
#   python.sh VERSION|system     as root, after tools.sh
set -euo pipefail
version="$1"
if [[ $version != system ]]; then
    UV_PYTHON_INSTALL_DIR=/opt/python uv python install --no-bin --no-cache "$version"
    ln -sf /opt/python/"cpython-$version"-*/bin/python3.11 /usr/local/bin/python3.11
fi
if ! python3.11 -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 11) or sys.version_info.releaselevel != "final")'; then
    echo "python: python3.11 is no release of Python 3.11: $(python3.11 --version 2>&1 || true)" >&2
    exit 1
fi
echo "python: $(python3.11 --version)"
