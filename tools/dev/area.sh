# SPDX-License-Identifier: Apache-2.0
# tools/dev/area.sh AREA [ARG...]: runs one area of ./dev test in the foreground. The contract of an area: exit 0 only if
# all is well, one line 'SKIP AREA/NAME...' for each test it left out, and 'N passed, N failed, N skipped' as the last
# line of that form. ./dev test judges all three; none alone makes an area pass.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"

# ctest_area LABEL PRESET AREA [PROGRAMS]: the ctest programs of one label, so many at a time (all cores), counted by
# their own claims.
ctest_area() {
    local label=$1 build=build/$2 area=$3 programs=${4:-$jobs} code=0
    rm -f "$build/$area.xml"
    ctest --test-dir "$build" -L "^$label\$" --output-on-failure --no-tests=error --parallel "$programs" \
        --test-output-size-passed 1048576 --test-output-size-failed 1048576 \
        --output-junit "$CONCLAVE_TOP/$build/$area.xml" || code=$?
    python3 tools/dev/ctest_counts.py "$area" "$build/$area.xml"
    return "$code"
}

area=$1
shift
case $area in
lint) bash tools/lint "$@" ;;
unit) ctest_area unit dev unit ;;
asan)
    build_preset asan
    ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1 ctest_area unit asan asan
    ;;
fuzz) bash tools/dev/fuzz.sh --smoke ;;
sim) ctest_area sim dev sim ;;
integration)
    if [ -e tests/integration/run ]; then
        bash tests/integration/run "$@"
    else
        # One at a time: they measure real time, and some want the machine's loopback addresses for themselves.
        ctest_area integration dev integration 1
    fi
    ;;
clients) bash tests/clients/run "$@" ;;
jepsen) bash jepsen/run --test "$@" ;;
*) usage_error "unknown area '$area'" ;;
esac
