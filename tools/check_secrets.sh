#!/usr/bin/env bash
# Looks for secrets in every file that is or could be committed, and in the whole history (of a shallow clone: in what there
# is of it). gitleaks does it; it is built once from its Go module (tools/secrets), into the cache that engines are kept in.
# What is no secret although it looks like one is named in .gitleaks.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

key="$(cat tools/secrets/go.mod tools/secrets/go.sum | git hash-object --stdin | cut -c1-16)"
folder="${XDG_CACHE_HOME:-$HOME/.cache}/streamforge/gitleaks-$key"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
if [[ ! -x $folder/gitleaks ]]; then
    if ! command -v go >/dev/null; then
        echo "secrets: gitleaks has not been built yet, and there is no go on PATH: install Go 1.26 or newer" >&2
        exit 1
    fi
    echo "secrets: building gitleaks once, in $folder (about a minute)"
    mkdir -p "$folder"
    GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0 go -C tools/secrets build -trimpath -p 2 -ldflags '-s -w' \
        -o "$scratch/gitleaks" github.com/zricethezav/gitleaks/v8
    cp "$scratch/gitleaks" "$folder/gitleaks.$$"
    mv "$folder/gitleaks.$$" "$folder/gitleaks" # whole or not at all, also if another one builds it now
fi

options=(--config "$PWD/.gitleaks.toml" --no-banner --no-color --redact --log-level warn --verbose)
failed=0
mkdir "$scratch/files"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [[ -f $file && ! -L $file ]]; then printf '%s\0' "$file"; fi
done | tar --null --files-from=- -cf - | tar -C "$scratch/files" -xf -
(cd "$scratch/files" && "$folder/gitleaks" dir "${options[@]}" .) || failed=1
"$folder/gitleaks" git "${options[@]}" . || failed=1
if [[ $failed -ne 0 ]]; then
    echo "secrets: found what looks like a secret (above): take it out, and withdraw it where it was ever pushed" >&2
    exit 1
fi
echo "secrets: none in $(find "$scratch/files" -type f | wc -l | tr -d ' ') files and $(git rev-list --count HEAD) commits"
