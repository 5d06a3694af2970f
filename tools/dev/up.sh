# SPDX-License-Identifier: Apache-2.0
# ./dev up: packages, release build, a cluster of 3 masters and 3 agents on this machine, and a first task on it.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"

bash tools/dev/deps.sh build
build_release

build/conclave dev up "$@"
printf "\n\$ conclave run 'echo hello'\n"
timeout 60 build/conclave run 'echo hello' || die "the first task did not run: see the lines above"
printf '\n$ conclave status\n'
timeout 20 build/conclave status
printf "\nThe binary is build/conclave; 'build/conclave dev down' stops the cluster, 'build/conclave dev clean' removes its data.\n"
