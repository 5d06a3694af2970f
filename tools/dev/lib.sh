# SPDX-License-Identifier: Apache-2.0
# What the subcommands of ./dev share. Sourced, never run; the caller has done `set -euo pipefail` and stands in the top
# folder of the tree.

# Toolchains must not fetch another version of themselves, nor change a lock file, behind our back.
export GOTOOLCHAIN=local
export GOFLAGS="-mod=readonly -buildvcs=false"
export PIP_DISABLE_PIP_VERSION_CHECK=1
export NPM_CONFIG_FUND=false NPM_CONFIG_AUDIT=false NPM_CONFIG_UPDATE_NOTIFIER=false
if [ -z "${CMAKE_C_COMPILER_LAUNCHER:-}" ] && command -v ccache >/dev/null 2>&1; then
    export CMAKE_C_COMPILER_LAUNCHER=ccache
fi

jobs=$(nproc)
logs=$CONCLAVE_TOP/build/test-logs

# Talk goes to stderr: stdout belongs to whoever reads --json.
say() { printf '%s\n' "$*" >&2; }

die() {
    printf './dev: %s\n' "$*" >&2
    exit 1
}

usage_error() {
    printf './dev: %s\n' "$*" >&2
    exit 64
}

# build_preset NAME: configures build/NAME once and builds it; silent unless it fails or something was compiled.
build_preset() {
    local preset=$1 log=$logs/build-$1.log
    mkdir -p "$logs"
    if ! { cmake --preset "$preset" && cmake --build --preset "$preset" --parallel "$jobs"; } >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        say "building preset '$preset' failed; the whole output is in ${log#"$CONCLAVE_TOP"/}"
        return 1
    fi
    say "built: preset $preset"
}

# build_release: the binary that `up`, the clients, jepsen and the benches run, at build/conclave.
build_release() {
    build_preset release || return 1
    ln -sfn release/conclave build/conclave
}
