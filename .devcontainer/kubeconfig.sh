#!/usr/bin/env bash
# Finds the kubeconfig: in a pod kubectl needs none; a KUBECONFIG that is set stays; else that of the machine that the
# container runs on (its ~/.kube, mounted at /mnt/host-kube) is copied to ~/.kube/config. A cluster on that machine's
# loopback (kind, minikube, Docker Desktop) is reached from here by another name, and still known by its own.
set -euo pipefail
host="${STREAMFORGE_HOST_KUBE:-/mnt/host-kube}/config"
ours="$HOME/.kube/config"
if [[ -n ${KUBECONFIG:-} ]]; then
    echo "kubeconfig: KUBECONFIG names $KUBECONFIG"
elif [[ -n ${KUBERNETES_SERVICE_HOST:-} ]]; then
    echo "kubeconfig: this is a pod, kubectl uses its ServiceAccount"
elif [[ ! -f $host ]]; then
    echo "kubeconfig: none: put one in ~/.kube/config, here or (before the next start) on the machine this runs on"
elif [[ -f $ours && ! $host -nt $ours ]]; then
    echo "kubeconfig: $ours is newer than that of the machine this runs on, and stays"
else
    umask 077
    mkdir -p "$HOME/.kube"
    sed -E 's#^([[:space:]]*)server: https://(127\.0\.0\.1|localhost|0\.0\.0\.0)(:[0-9]+)/?$#\1server: https://host.docker.internal\3\n\1tls-server-name: \2#
        s#^([[:space:]]*tls-server-name: )0\.0\.0\.0$#\1localhost#' "$host" >"$ours.new"
    mv "$ours.new" "$ours"
    echo "kubeconfig: $ours is that of the machine this runs on"
    if grep -Eq '^[[:space:]]*(certificate-authority|client-certificate|client-key): ' "$ours"; then
        echo "kubeconfig: it names files of that machine; there, kubectl config view --flatten writes them into it" >&2
    fi
fi
