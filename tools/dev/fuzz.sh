# SPDX-License-Identifier: Apache-2.0
# ./dev fuzz [SECONDS]: runs each fuzz target for SECONDS (60), starting from its seeds in tests/fuzz/corpus/TARGET.
# New inputs go to build/fuzz-corpus; a crash is left in build/fuzz-crashes and fails the command.
# ./dev fuzz --smoke: the same 20,000 inputs each time, for ./dev test: a new fault there comes from the change, not by luck.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"

corpus=build/fuzz-corpus
if [ "${1:-}" = --smoke ]; then
    corpus=build/fuzz-smoke
    rm -rf "$corpus"
    budget=(-seed=1 -runs=20000 -max_total_time=60)
else
    seconds=${1:-60}
    [[ $seconds =~ ^[1-9][0-9]{0,4}$ ]] || usage_error "fuzz takes a number of seconds, not '$seconds'"
    budget=(-max_total_time="$seconds")
fi
bash tools/dev/deps.sh build unit lint
build_preset fuzz
shopt -s nullglob
targets=(build/fuzz/tests/fuzz/fuzz_*)
run=0 failed=0
mkdir -p build/fuzz-crashes
for target in "${targets[@]}"; do
    [ -f "$target" ] && [ -x "$target" ] || continue
    name=${target##*/}
    run=$((run + 1))
    mkdir -p "$corpus/$name" "$logs"
    seeds=()
    [ ! -d "tests/fuzz/corpus/$name" ] || seeds=("tests/fuzz/corpus/$name")
    if "$target" "${budget[@]}" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="build/fuzz-crashes/$name-" "$corpus/$name" ${seeds[@]+"${seeds[@]}"} \
        >"$logs/$name.log" 2>&1; then
        say "$name: $(sed -nE 's/^stat::number_of_executed_units: *//p' "$logs/$name.log") inputs, no fault"
    else
        failed=$((failed + 1))
        say "$name: FAULT"
        tail -n 40 "$logs/$name.log" >&2
    fi
done
[ "$run" -gt 0 ] || die "no fuzz target was built"
printf '%d passed, %d failed, 0 skipped\n' $((run - failed)) "$failed"
[ "$failed" -eq 0 ]
