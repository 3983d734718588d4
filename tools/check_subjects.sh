#!/usr/bin/env bash
# Fails for commits whose subject has more than 72 characters; commits before the rule was checked stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

since=2026-11-28T00:00:00Z
count=$(git rev-list --count --since="$since" HEAD)
long=$(git log --since="$since" --format='%h %s' | awk '{ subject = substr($0, index($0, " ") + 1) } length(subject) > 72')
if [[ -n $long ]]; then
    printf 'subjects: longer than 72 characters (git commit --amend, or git rebase -i):\n%s\n' "$long" >&2
    exit 1
fi
echo "subjects: none of $count commits has more than 72 characters"
