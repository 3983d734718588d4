#!/usr/bin/env bash
# No Python file has more than 400 lines, no file 400 kB (binaries and data do not belong here), and code and tests as a whole stay within a budget of lines that are not blank:
# a new developer reads them all. A change that needs more raises the number here, where its review sees it; one that needs less lowers it.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
within() { # BUDGET FOLDER...
    local budget=$1 lines
    shift
    lines=$(git ls-files -z -- "${@/%//*.py}" | xargs -0 cat | grep -c '[^[:space:]]')
    echo "size: $lines of at most $budget lines that are not blank in $*"
    ((lines <= budget)) || failed=1
}
within 82500 libs src
within 107200 tests

git ls-files -z -- '*.py' | while IFS= read -r -d '' file; do
    if [[ -f $file ]]; then printf '%s %s\n' "$(wc -l <"$file")" "$file"; fi
done | awk '$1 > 400 { print "size: " $2 " has " $1 " lines: split it, no file has more than 400"; found = 1 } END { exit found }' || failed=1
git ls-files -z | while IFS= read -r -d '' file; do
    if [[ -f $file ]]; then printf '%s %s\n' "$(wc -c <"$file")" "$file"; fi
done | awk '$1 > 400000 { print "size: " $2 " has " $1 " bytes: binaries and data do not belong into git"; found = 1 } END { exit found }' || failed=1
exit "$failed"
