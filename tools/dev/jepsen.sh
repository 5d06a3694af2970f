# SPDX-License-Identifier: Apache-2.0
# ./dev jepsen [ARG...]: real processes as hosts, real faults, recorded histories, checked.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"
if [ "${1:-}" = mutants ]; then
    bash tools/dev/deps.sh build unit jepsen
    build_preset dev
    export CONCLAVE_MUTANT_BIN=$CONCLAVE_TOP/build/dev/conclave_mutant
else
    bash tools/dev/deps.sh build jepsen
    build_release
    export CONCLAVE_BIN=$CONCLAVE_TOP/build/conclave
fi
exec bash jepsen/run "$@"
