# SPDX-License-Identifier: Apache-2.0
# ./dev jepsen [ARG...]: real processes as hosts, real faults, recorded histories, checked.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"
bash tools/dev/deps.sh build jepsen
build_release
export CONCLAVE_BIN=$CONCLAVE_TOP/build/conclave
exec bash jepsen/run "$@"
