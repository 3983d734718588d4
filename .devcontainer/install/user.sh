#!/usr/bin/env bash
# The user that one works as: NAME with the number UID, who may become root by sudo and has no password.
#   user.sh NAME UID     as root
set -euo pipefail
name="$1" uid="$2"
if other="$(getent passwd "$uid" | cut -d: -f1)" && [[ -n $other ]]; then userdel --remove "$other" 2>/dev/null; fi
getent group "$uid" >/dev/null || groupadd --gid "$uid" "$name"
useradd --uid "$uid" --gid "$uid" --create-home --shell /bin/bash "$name"
# `*` is no password that anybody could type; `!` would also keep keys out.
usermod --password '*' "$name"
printf '%s ALL=(root) NOPASSWD: ALL\n' "$name" >"/etc/sudoers.d/$name"
chmod 440 "/etc/sudoers.d/$name"
cat >>"/home/$name/.bashrc" <<'END'
if [ -f /usr/share/bash-completion/bash_completion ]; then . /usr/share/bash-completion/bash_completion; fi
if kubectl completion bash >/dev/null 2>&1; then . <(kubectl completion bash); fi
if helm completion bash >/dev/null 2>&1; then . <(helm completion bash); fi
END
