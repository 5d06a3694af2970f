# SPDX-License-Identifier: Apache-2.0
# ./dev lint [--all]: every check of the source.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"
bash tools/dev/deps.sh build unit lint
build_preset dev
build_release
exec bash tools/lint "$@"
