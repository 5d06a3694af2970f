#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the pinned clients of others under build/clients and proves that each can be loaded:
#   build/clients/node/node_modules     mesos-framework (npm)
#   build/clients/venv/bin/python       pymesos (PyPI)
#   build/clients/bin/NAME              each main package of mesos-go/ (Go module)
# Does nothing when the lock files, the sources and the tools are those of the last time. Talk goes to stderr.
set -euo pipefail

here=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/build/clients
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false"
export NPM_CONFIG_FUND=false NPM_CONFIG_AUDIT=false NPM_CONFIG_UPDATE_NOTIFIER=false
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# retry COMMAND...: registries fail for a moment at times; three tries, then it is a fault.
retry() {
    local try
    for try in 1 2 3; do
        if "$@" >&2; then
            return 0
        fi
        echo "$1 failed (try $try of 3)" >&2
        sleep $((try * 3))
    done
    return 1
}

# up_to_date PART KEY: true if the last install of PART was made from the same inputs.
up_to_date() { [ "$(cat "$out/$1.stamp" 2>/dev/null)" = "$2" ]; }

key_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

install_node() {
    local key
    key="$(node --version) $(key_of "$here/package.json" "$here/package-lock.json")"
    up_to_date node "$key" && return
    rm -rf "$out/node" "$out/node.stamp"
    mkdir -p "$out/node"
    cp "$here/package.json" "$here/package-lock.json" "$out/node/"
    (cd "$out/node" && retry npm ci --ignore-scripts --no-progress --loglevel=error)
    (cd "$out/node" && node -e 'if (!require("mesos-framework").Scheduler) process.exit(1)')
    echo "$key" >"$out/node.stamp"
}

install_python() {
    local key pip
    key="$(python3 --version) $(key_of "$here"/requirements*.txt)"
    up_to_date python "$key" && return
    rm -rf "$out/venv" "$out/unpacked" "$out/python.stamp"
    python3 -m venv "$out/venv"
    pip="$out/venv/bin/pip"
    retry "$pip" install -q --no-deps --require-hashes -r "$here/requirements-build.txt"
    retry "$pip" install -q --no-deps --require-hashes --no-build-isolation -r "$here/requirements.txt"
    retry "$pip" download -q --no-deps --require-hashes --no-build-isolation -d "$out/unpacked" -r "$here/requirements-unpacked.txt"
    tar -xzf "$out"/unpacked/http-parser-*.tar.gz -C "$out/unpacked" --strip-components=1 --wildcards '*/http_parser/*.py'
    mv "$out/unpacked/http_parser" "$("$out/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/"
    "$out/venv/bin/python" -c 'import pymesos; assert pymesos.MesosSchedulerDriver'
    echo "$key" >"$out/python.stamp"
}

install_go() {
    local key
    key="$(go version) $(find "$here/mesos-go" -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -d' ' -f1)"
    up_to_date go "$key" && return
    rm -rf "${out:?}/bin" "$out/go.stamp"
    mkdir -p "$out/bin"
    (cd "$here/mesos-go" && retry go build -o "$out/bin/" ./...)
    [ "$("$out/bin/probe")" = "TASK_FINISHED 11" ]
    echo "$key" >"$out/go.stamp"
}

mkdir -p "$out"
install_node
install_python
install_go
