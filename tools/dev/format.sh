# SPDX-License-Identifier: Apache-2.0
# ./dev format: rewrites our C sources in the style of .clang-format.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"
bash tools/dev/deps.sh lint
git ls-files -z '*.c' '*.h' | xargs -0 -r clang-format -i
