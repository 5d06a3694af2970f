# SPDX-License-Identifier: Apache-2.0
# ./dev test [AREA...] [--json] [ARG...]: installs what is missing, builds, runs the areas one after the other and ends
# with a line an area and 'N passed, N failed, N skipped'. Exit 1 if a test failed, if an area exited non-zero, ran no
# test or skipped one that tests/allowed-skips does not name, or if the whole took longer than 45 minutes.
# Arguments after a single AREA go to its runner. --json: the runner's JSON lines alone on stdout.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"

all_areas=(lint unit asan fuzz sim integration clients jepsen)
# An area listed here fails when its runner is missing; the others join the run when their runner appears.
required_areas=" lint unit asan fuzz sim integration clients jepsen "
total_limit_s=2700

limit_of() {
    case $1 in
    lint | fuzz | unit | sim | integration) echo 600 ;;
    *) echo 900 ;;
    esac
}

sets_of() {
    case $1 in
    lint | fuzz) echo lint ;;
    clients) echo clients ;;
    jepsen) echo jepsen ;;
    esac
}

has_runner() {
    case $1 in
    unit | asan) grep -qs 'LABELS.*unit' build/dev/tests/unit/CTestTestfile.cmake ;;
    sim) grep -qs 'LABELS.*sim' build/dev/tests/sim/CTestTestfile.cmake ;;
    integration) [ -e tests/integration/run ] || grep -qs 'LABELS.*integration' build/dev/tests/integration/CTestTestfile.cmake ;;
    lint) [ -e tools/lint ] ;;
    fuzz) compgen -G 'tests/fuzz/fuzz_*.c' >/dev/null ;;
    clients) [ -e tests/clients/run ] ;;
    jepsen) [ -e jepsen/run ] ;;
    esac
}

# finish PASSED FAILED SKIPPED STATUS: the closing line, which CI and people read.
finish() {
    printf '%d passed, %d failed, %d skipped\n' "$1" "$2" "$3"
    exit "$4"
}

areas=() pass_on=() json=
while [ $# -gt 0 ]; do
    case $1 in
    --json) json=1 pass_on+=(--json) ;;
    -*)
        pass_on+=("$@")
        break
        ;;
    *)
        [[ " ${all_areas[*]} " == *" $1 "* ]] || usage_error "unknown area '$1'; areas: ${all_areas[*]}"
        areas+=("$1")
        ;;
    esac
    shift
done
[ ${#pass_on[@]} -eq 0 ] || [ ${#areas[@]} -eq 1 ] || usage_error "options go to one area: name it alone"
chosen=1
if [ ${#areas[@]} -eq 0 ]; then
    areas=("${all_areas[@]}")
    chosen=
fi
exec 3>&1
[ -z "$json" ] || exec >&2

mkdir -p "$logs"
sets=(build unit)
for area in "${areas[@]}"; do
    for set_name in $(sets_of "$area"); do
        sets+=("$set_name")
    done
done
bash tools/dev/deps.sh "${sets[@]}"
SECONDS=0
build_preset dev || finish 0 1 0 1
build_release || finish 0 1 0 1
export CONCLAVE_BIN=$CONCLAVE_TOP/build/conclave
say "built in $SECONDS s"

# run_area AREA LIMIT_S: the area in a process group of its own, which timeout ends; so it must be told when we are ended.
running=
run_area() {
    local code=0
    timeout --kill-after=20 "$2" bash tools/dev/area.sh "$1" ${pass_on[@]+"${pass_on[@]}"} </dev/null &
    running=$!
    wait "$running" || code=$?
    running=
    return "$code"
}
trap '[ -z "$running" ] || kill -TERM "$running"; exit 143' TERM INT HUP

total_passed=0 total_failed=0 total_skipped=0 status=0 table=()
for area in "${areas[@]}"; do
    log=$logs/$area.log
    if ! has_runner "$area"; then
        if [ -n "$chosen" ] || [[ $required_areas == *" $area "* ]]; then
            table+=("$(printf '%-12s %5s s  %5d passed  %3d failed  %3d skipped  %s' "$area" 0 0 1 0 'its runner is missing')")
            total_failed=$((total_failed + 1)) status=1
        fi
        continue
    fi
    limit=$(limit_of "$area")
    left=$((total_limit_s - SECONDS))
    [ "$limit" -le "$left" ] || limit=$((left > 1 ? left : 1))
    say "--- $area"
    started=$SECONDS code=0
    if [ -n "$json" ]; then
        run_area "$area" "$limit" 2>"$log" >"$logs/$area.jsonl" || code=$?
        cat "$logs/$area.jsonl" >&3
    else
        run_area "$area" "$limit" >"$log" 2>&1 || code=$?
    fi
    judged=$(python3 tools/dev/judge.py "$area" "$code" "$limit" "$log" tests/allowed-skips)
    read -r passed failed skipped verdict <<<"$judged"
    if [ -n "$verdict" ]; then
        status=1
        tail -n 60 "$log"
        say "--- $area: $verdict; the whole output is in ${log#"$CONCLAVE_TOP"/}"
    else
        grep -aE '^(SKIP |[0-9]+% tests passed|ok  |PASS$|=+ .* in [0-9])' "$log" | tail -n 5 || [ $? -eq 1 ]
    fi
    table+=("$(printf '%-12s %5d s  %5d passed  %3d failed  %3d skipped%s' "$area" $((SECONDS - started)) "$passed" "$failed" "$skipped" "${verdict:+  $verdict}")")
    total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed)) total_skipped=$((total_skipped + skipped))
done

if [ "$SECONDS" -gt "$total_limit_s" ]; then
    table+=("took $SECONDS s, more than $total_limit_s s")
    total_failed=$((total_failed + 1)) status=1
fi
echo
printf '%s\n' "${table[@]}"
finish "$total_passed" "$total_failed" "$total_skipped" "$status"
