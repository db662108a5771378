# shellcheck shell=bash
# What the lint tests share. Each is a program: 0 clean, 1 with a line `FILE:LINE: what` for each finding, 77 skipped.
# MPAXOS_SOURCE and MPAXOS_BUILD name the trees; `make check` and tests/run set them.
set -euo pipefail
export LC_ALL=C.UTF-8

lint=${0##*/}
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source_dir=${MPAXOS_SOURCE:-$top}
build_dir=${MPAXOS_BUILD:-$source_dir}
export build_dir
findings=0
cd "$source_dir"

# found FILE:LINE WHAT
found() {
    echo "$lint: $1: $2"
    findings=$((findings + 1))
}

skip() {
    echo "$lint: skipped: $1"
    exit 77
}

finish() {
    if [ "$findings" -gt 0 ]; then
        echo "$lint: $findings found"
        exit 1
    fi
    exit 0
}

# The C files that people write.
c_files() {
    find daemon ctl tests -type f \( -name '*.c' -o -name '*.h' \) ! -path daemon/wire/interfaces.c 2>/dev/null | sort
}

# The scripts in the shell of $1 (bash or python3), told by their first line.
scripts_in() {
    local f line
    while read -r f; do
        line=
        IFS= read -r line <"$f" 2>/dev/null || true
        case $line in '#!'*"$1"*) echo "$f" ;; esac
    done < <(find .ci ctl daemon packaging tests -type f ! -name '*.[cho]' ! -name '*.a' ! -name '*.log' 2>/dev/null | sort)
}
