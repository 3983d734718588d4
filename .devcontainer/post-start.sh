#!/usr/bin/env bash
# Runs at every start: trusts the certificates that have been added, finds the cluster, and starts the SSH server if it is asked
# for (STREAMFORGE_DEVCONTAINER_SSH=1).
set -euo pipefail
cd "$(dirname "$0")"
sudo /opt/streamforge-dev/install/certificates.sh "$PWD/certs"
./kubeconfig.sh
if [[ ${STREAMFORGE_DEVCONTAINER_SSH:-} == 1 ]]; then ./sshd.sh; fi
