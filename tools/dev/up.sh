# SPDX-License-Identifier: Apache-2.0
# ./dev up: packages, release build, a cluster of 3 masters and 3 agents on this machine, and a first task on it.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"

bash tools/dev/deps.sh build
build_release

say
build/conclave dev up "$@"
say
say "\$ conclave run 'echo hello'"
timeout 60 build/conclave run 'echo hello' || die "the first task did not run: see the lines above"
say
say '$ conclave status'
timeout 20 build/conclave status
say
say "the binary is build/conclave; 'build/conclave dev down' stops the cluster, 'build/conclave dev clean' removes its data"
