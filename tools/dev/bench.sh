# SPDX-License-Identifier: Apache-2.0
# ./dev bench commit|failover|snapshot|catchup|soak|handover [--json] [ARG...]: figures beside etcd, on this machine's disk; tests/bench/bench.py.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"
bash tools/dev/deps.sh build unit bench
build_release
build_preset dev # the load programs stand with the tests
export CONCLAVE_BIN=$CONCLAVE_TOP/build/conclave CONCLAVE_COMMIT_LOAD=$CONCLAVE_TOP/build/dev/tests/bench/commit_load
export PYTHONDONTWRITEBYTECODE=1
exec python3 tests/bench/bench.py "$@"
