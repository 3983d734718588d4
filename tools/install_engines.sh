#!/usr/bin/env bash
# What `make test-engines`, `make test-images` and `make test-gnn` need beyond Python, where it is missing: a Java 17 or newer, Maven, kcat,
# etcd, buildah, mmdebstrap, crun and gcc, from the system's packages. Go builds the rest of a Kubernetes cluster; no Debian has one
# that is new enough, so it is only looked for.
# Only root of a Debian or Ubuntu can install them; everyone else is told what is missing.
set -euo pipefail
"$(dirname "$0")/install_promtool.sh" # for `make check`
missing=()
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
command -v kcat >/dev/null || missing+=(kcat)
command -v etcd >/dev/null || missing+=(etcd-server)
command -v rsync >/dev/null || missing+=(rsync) # gitlab-ci-local copies with it
command -v buildah >/dev/null || missing+=(buildah)
command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
command -v crun >/dev/null || missing+=(crun)
command -v gcc >/dev/null || missing+=(gcc libc6-dev) # stand-ins for CUDA
# On an Ubuntu: what Debian's packages are signed with.
[[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
if ! command -v go >/dev/null; then
    echo "engines: install Go 1.26 or newer first" >&2
    exit 1
fi
if [[ ${#missing[@]} -eq 0 ]]; then
    echo "engines: java, mvn, kcat, etcd, rsync, buildah, mmdebstrap, crun, gcc and go are there"
    exit 0
fi
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    echo "engines: install these first: ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "engines: installing ${missing[*]}"
apt-get update -q
# Debian 13 has newer ones only.
if [[ -z $(apt-cache madison openjdk-17-jre-headless) ]]; then
    missing=("${missing[@]/#openjdk-17-jre-headless/default-jre-headless}")
fi
apt-get install -q -y --no-install-recommends "${missing[@]}"
