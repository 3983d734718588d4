#!/usr/bin/env bash
# uv, Node.js, gitlab-ci-local (which runs a pipeline's jobs, as `gitlab-runner exec` once did) and the devcontainer command,
# for everybody: from FOLDER's pins (pipelines.txt, package-lock.json), each checked against its hash.
#   tools.sh FOLDER     as root, on any distribution with Python 3
set -euo pipefail
folder="$1"
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip --disable-pip-version-check --no-input install -q --no-cache-dir --no-deps \
    --require-hashes --only-binary :all: -r "$folder/pipelines.txt"
for name in node npm npx uv uvx; do ln -sf "$folder/env/bin/$name" "/usr/local/bin/$name"; done
npm --prefix "$folder" ci --ignore-scripts --cache "$folder/npm-cache"
rm -rf "$folder/npm-cache"
for name in gitlab-ci-local devcontainer; do
    program="$(readlink -f "$folder/node_modules/.bin/$name")"
    chmod a+x "$program"
    ln -sf "$program" "/usr/local/bin/$name"
done
