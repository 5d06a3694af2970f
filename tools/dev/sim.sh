# SPDX-License-Identifier: Apache-2.0
# ./dev sim [ARG...]: the seeded simulator, built with the dev preset. ./dev sim --help
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"
bash tools/dev/deps.sh build unit
build_preset dev
[ -x build/dev/conclave_sim ] || die "the simulator is not built: build/dev/conclave_sim is missing"
exec python3 tools/dev/sim.py "$@"
