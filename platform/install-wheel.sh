#!/bin/sh
# install-wheel PROJECT ROOT: builds the wheel of the project in the folder PROJECT and installs it below ROOT, whence a
# later stage copies it to /. Nothing is fetched: what builds it is in the base image. Bytecode is made beforehand and
# never compared with its source's time, so that it holds in an image whose times were all set to one.
set -eu
project=$1
root=$2
python=/opt/streamforge/bin/python3.11
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
pip() {
    "$python" -m pip --disable-pip-version-check --no-cache-dir --quiet "$@"
}
pip wheel --no-index --no-deps --no-build-isolation --wheel-dir "$scratch" "$project"
# By its name: installed as a file, it would keep note of the folder, which is another one each time.
name=$(basename "$scratch"/*.whl)
pip install --no-index --find-links "$scratch" --no-deps --no-compile --force-reinstall --no-warn-script-location \
    --root "$root" "${name%%-*}"
PYTHONHASHSEED=0 "$python" -m compileall -q --invalidation-mode unchecked-hash -s "$root" -p / "$root"
