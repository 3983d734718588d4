#!/usr/bin/env bash
# Fetches promtool, with which `make check` tests the alerts: the one file out of Debian's package `prometheus`, whose
# installation would start a server. It goes into the cache of fetched tools, outside the checkout, and needs no root; with
# sudo, whose cache is not that of the one who asked, it goes to where everybody finds it.
set -euo pipefail
folder="${XDG_CACHE_HOME:-$HOME/.cache}/streamforge/promtool"
[[ $(id -u) -ne 0 || -z ${SUDO_USER:-} ]] || folder=/usr/local/bin
if command -v promtool >/dev/null || [[ -x $folder/promtool ]]; then
    echo "promtool: it is there"
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "promtool: put the one of Prometheus 2.42 or newer on PATH; only Debian and Ubuntu have it as a package" >&2
    exit 1
fi
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
[[ $(id -u) -ne 0 ]] || chown _apt "$scratch" # the user as whom apt fetches
if ! (cd "$scratch" && apt-get -q download prometheus); then
    [[ $(id -u) -eq 0 ]] || { echo "promtool: run \`apt-get update\` as root, then this again" >&2; exit 1; }
    apt-get update -q
    (cd "$scratch" && apt-get -q download prometheus)
fi
dpkg-deb --extract "$scratch"/prometheus_*.deb "$scratch/root"
mkdir -p "$folder"
cp "$scratch/root/usr/bin/promtool" "$folder/.promtool.new"
"$folder/.promtool.new" --version | head -1
mv "$folder/.promtool.new" "$folder/promtool"
echo "promtool: $folder/promtool"
