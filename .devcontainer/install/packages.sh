#!/usr/bin/env bash
# The distribution's own packages: of Ubuntu 22.04 or newer, or of Debian 12 or newer. As root.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
packages=(
    bash-completion ca-certificates ca-certificates-java curl dnsutils git iproute2 jq less make
    openssh-client openssh-server openssl procps python3 python3-venv rsync sudo xz-utils
)
# Images leave it out, and Java's package cannot do without.
mkdir -p /usr/share/man/man1
apt-get update -q
# Ubuntu 22.04 knows it by its old name only.
if [[ -n $(apt-cache madison kcat) ]]; then packages+=(kcat); else packages+=(kafkacat); fi
# Kafka's tests want 17 or newer; Debian 13 has newer ones only.
if [[ -n $(apt-cache madison openjdk-17-jre-headless) ]]; then
    packages+=(openjdk-17-jre-headless)
else
    packages+=(default-jre-headless)
fi
apt-get install -q -y --no-install-recommends "${packages[@]}"
apt-get clean
rm -rf /var/lib/apt/lists/*
# Both names, whichever there is.
command -v kafkacat >/dev/null || ln -s "$(command -v kcat)" /usr/local/bin/kafkacat
command -v kcat >/dev/null || ln -s "$(command -v kafkacat)" /usr/local/bin/kcat
# Each container makes keys of its own when its server is asked for (sshd.sh).
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
