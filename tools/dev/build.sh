# SPDX-License-Identifier: Apache-2.0
# ./dev build [PRESET...]: builds presets; the release binary is also found at build/conclave.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"

[ $# -gt 0 ] || set -- release
sets=(build)
for preset in "$@"; do
    case $preset in
    release) ;;
    dev | asan | tsan | coverage) sets+=(unit) ;;
    fuzz | tidy) sets+=(unit lint) ;;
    *) usage_error "unknown preset '$preset'" ;;
    esac
done
bash tools/dev/deps.sh "${sets[@]}"
for preset in "$@"; do
    if [ "$preset" = release ]; then build_release; else build_preset "$preset"; fi
done
