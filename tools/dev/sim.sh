# SPDX-License-Identifier: Apache-2.0
# ./dev sim [ARG...]: the seeded simulator, built with the dev preset.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"
bash tools/dev/deps.sh build unit
build_preset dev
[ -x build/dev/conclave_sim ] || die "the simulator is not built: build/dev/conclave_sim is missing"
exec build/dev/conclave_sim --rev "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" "$@"
