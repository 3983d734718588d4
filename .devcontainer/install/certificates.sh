#!/usr/bin/env bash
# Has the system trust the CAs of the house: every certificate in FOLDER (*.crt, *.pem; a file may hold several). curl, git,
# Python, Node.js and Java share the system's trust. What was trusted by an earlier run and is gone is trusted no longer.
#   certificates.sh FOLDER     as root
set -euo pipefail
folder="$1"
trusted=/usr/local/share/ca-certificates/house
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

count=0
shopt -s nullglob
for file in "$folder"/*.crt "$folder"/*.pem; do
    if grep -q 'PRIVATE KEY' "$file"; then
        echo "certificates: $file holds a private key: take it out, only certificates belong there" >&2
        exit 1
    fi
    name="$(basename "${file%.*}")"
    awk -v base="$scratch/$name" '/-----BEGIN CERTIFICATE-----/ { n += 1; out = base "-" n ".crt" }
        out { print > out } /-----END CERTIFICATE-----/ { close(out); out = "" }' "$file"
    found=("$scratch/$name"-*.crt)
    if [[ ${#found[@]} -eq 0 ]]; then
        echo "certificates: $file holds no certificate in PEM form" >&2
        exit 1
    fi
    for one in "${found[@]}"; do
        if ! openssl x509 -in "$one" -noout 2>/dev/null; then
            echo "certificates: $file holds a certificate that cannot be read" >&2
            exit 1
        fi
        count=$((count + 1))
    done
done

rm -rf "$trusted"
if [[ $count -gt 0 ]]; then install -D -m 644 -t "$trusted" "$scratch"/*.crt; fi
# Java's own store is written by it too, which hears of certificates that are there and never of those that went: it begins again.
rm -f /etc/ssl/certs/java/cacerts
update-ca-certificates --fresh >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
echo "certificates: the system trusts $count of the house"
