# SPDX-License-Identifier: Apache-2.0
# ./dev clean: removes what the other commands made in the tree. A running dev cluster is left alone.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"
rm -rf build
