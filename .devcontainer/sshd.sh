#!/usr/bin/env bash
# Starts an SSH server on loopback (port 2222, STREAMFORGE_DEVCONTAINER_SSH_PORT for another): for this user and by key
# alone. Its keys are those of .devcontainer/authorized_keys, which stays out of the repository.
set -euo pipefail
keys="$(cd "$(dirname "$0")" && pwd)/authorized_keys"
port="${STREAMFORGE_DEVCONTAINER_SSH_PORT:-2222}"
folder="$HOME/.local/state/streamforge-sshd"
if [[ ! -s $keys ]]; then
    echo "sshd: who may come in? Put public keys into $keys" >&2
    exit 1
fi
umask 077
mkdir -p "$folder"
install -m 600 "$keys" "$folder/authorized_keys"
[[ -f $folder/host_key ]] || ssh-keygen -q -t ed25519 -N '' -f "$folder/host_key"
cat >"$folder/sshd_config" <<END
ListenAddress 127.0.0.1
Port $port
HostKey $folder/host_key
PidFile $folder/sshd.pid
AuthorizedKeysFile $folder/authorized_keys
AllowUsers $(id -un)
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM no
X11Forwarding no
Subsystem sftp internal-sftp
END
if [[ -f $folder/sshd.pid ]] && kill -0 "$(<"$folder/sshd.pid")" 2>/dev/null; then
    echo "sshd: it runs already, on 127.0.0.1:$port"
    exit 0
fi
# As this user: it needs no rights of root, and lets nobody else in.
/usr/sbin/sshd -f "$folder/sshd_config" -E "$folder/log"
echo "sshd: on 127.0.0.1:$port, by key, for $(id -un)"
