#!/usr/bin/env bash
# Runs every fuzz target, or those named: `bash fuzz/run.sh [TARGET …]`.
#
# EXECUTIONS is the number of executions of each target, 10 million by default. Needs a nightly toolchain, a
# C++ compiler and `cargo install cargo-fuzz`. Found inputs are kept in target/fuzz-corpus; a crash ends the
# run and is kept in fuzz/artifacts. Arguments of `cargo fuzz` may be given in FUZZ_ARGUMENTS.
set -euo pipefail
cd "$(dirname "$0")/.."

executions=${EXECUTIONS:-10000000}
if [ $# -eq 0 ]; then
    mapfile -t targets < <(ls fuzz/corpus)
    set -- "${targets[@]}"
fi
for target in "$@"; do
    found="target/fuzz-corpus/$target"
    mkdir -p "$found"
    echo "== $target: $executions executions"
    # Larder has no unsafe code, so a sanitizer of memory would only cost time.
    # shellcheck disable=SC2086
    cargo +nightly fuzz run --sanitizer none ${FUZZ_ARGUMENTS:-} "$target" "$found" "fuzz/corpus/$target" -- \
        -runs="$executions" -print_final_stats=1
done
