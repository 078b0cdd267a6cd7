#!/usr/bin/env bash
# The library's unit tests and the test suite under a sanitizer:
#
#   tests/sanitizers.sh address|thread [quick|all]
#
# address   every byte that is touched belongs to whoever touches it, and nothing leaks. No suppressions.
# thread    data races. The standard library is not instrumented (that would need its sources); what this makes of it is
#           in tests/tsan-suppressions.txt, entry by entry.
#
# quick     what threads share: the unit tests of env, memtable, wal and engine, and the tests with threads
# all       address: everything. thread: everything that has two threads; a test program on the simulated disk has one, so there is no race
#           in it to find, and it is left out
#
# Works with the installed compiler, on Linux (x86-64). Each sanitizer has a target directory of its own under
# target/sanitizers. Extra arguments for the test programs go into TEST_ARGS.
set -euo pipefail
cd "$(dirname "$0")/.."

sanitizer=${1:-}
extent=${2:-quick}
triple=x86_64-unknown-linux-gnu
threaded=(--test concurrency --test background --test regressions)
# All programs in which some test runs on the real file system and thread pool.
all_threaded=("${threaded[@]}" --test bad_input --test checkpoint --test facts --test files --test kill --test limits --test memory
    --test reads --test recovery_modes --test replaced --test smoke --test tree_store)

run() {
    cargo test --target "$triple" -p packstone "$@"
}

quick_or_all() {
    if [ "$extent" = all ]; then
        # The program that tests/tree_store.rs runs: built there, it would be built for the host.
        cargo build --target "$triple" -p packstone --example tree_store
        local programs=(--tests)
        [ "$sanitizer" = address ] || programs=("${all_threaded[@]}")
        # What fails does not keep the rest from being run. What a sanitizer takes for itself is memory, too, to the system.
        run --no-fail-fast --lib "${programs[@]}" -- --skip what_the_system_measures ${TEST_ARGS:-}
        [ "$sanitizer" = address ] || run --test model -- real_directory ${TEST_ARGS:-}
    else
        run --lib -- ${TEST_ARGS:-} env:: memtable:: wal:: engine::
        run "${threaded[@]}" -- ${TEST_ARGS:-}
    fi
}

export CARGO_TARGET_DIR=$PWD/target/sanitizers/$sanitizer
case $sanitizer in
address)
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address"
    export ASAN_OPTIONS="detect_leaks=1:${ASAN_OPTIONS:-}"
    quick_or_all
    ;;
thread)
    # The standard library has no instrumentation, which is an ABI mismatch by the compiler's book.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
    export TSAN_OPTIONS="suppressions=$PWD/tests/tsan-suppressions.txt:halt_on_error=0:${TSAN_OPTIONS:-}"
    quick_or_all
    ;;
*)
    sed -n '2,14p' "$0"
    exit 2
    ;;
esac
