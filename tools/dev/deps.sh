# SPDX-License-Identifier: Apache-2.0
# ./dev deps [SET...]: installs packages and does nothing else. Without a SET, everything.
#
# Debian's packages are installed when they are missing; when none is, apt is not asked at all. node with npm, go and
# python3 are taken from PATH when they are there, whoever built them; Debian's are installed only where one is missing,
# never over another (Debian's npm and a foreign nodejs exclude each other).
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"

node_major_min=18
go_version_min=1.19
python_version_min=3.11

packages_of() {
    case $1 in
    build)
        echo gcc libc6-dev cmake ninja-build pkg-config libuv1-dev libraft-dev liblz4-dev libprotobuf-c-dev \
            protobuf-c-compiler node-llhttp libxxhash-dev libsmartcols-dev libcurl4-openssl-dev libssl-dev
        ;;
    unit) echo libcmocka-dev procps ;;
    lint) echo clang clang-format clang-tidy cppcheck libclang-rt-14-dev shellcheck git binutils ;;
    clients) echo ca-certificates curl procps ;;
    jepsen) echo ca-certificates iproute2 nftables procps util-linux mount e2fsprogs xfsprogs strace ;;
    bench) echo etcd-server nghttp2-client util-linux procps git ;;
    bare) echo debootstrap ca-certificates git ;;
    *) usage_error "unknown set of packages '$1'" ;;
    esac
}

tools_of() {
    case $1 in
    unit | bench) echo python ;;
    lint) echo python go ;;
    clients) echo python node go ;;
    jepsen) echo go ;;
    esac
}

# version_at_least HAVE WANT: compares dotted numbers.
version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# missing_tool_packages NAME: prints Debian's packages for a tool that is not on PATH; refuses one that is too old.
missing_tool_packages() {
    local have
    case $1 in
    node)
        if ! command -v node >/dev/null; then
            echo nodejs npm
            return
        fi
        have=$(node --version)
        have=${have#v}
        version_at_least "$have" "$node_major_min" ||
            die "node $have on PATH is older than $node_major_min and is left alone: update it, or take it off PATH"
        if ! command -v npm >/dev/null; then
            # Debian's node without its npm is the one case where Debian's npm fits.
            if [ "$(dpkg-query -W -f='${Maintainer}' nodejs 2>/dev/null | grep -c 'debian')" = 1 ] &&
                [ "$(readlink -f "$(command -v node)")" = /usr/bin/node ]; then
                echo npm
            else
                die "node $have is on PATH without npm, and Debian's npm cannot stand beside it: install the npm of your node"
            fi
        fi
        ;;
    go)
        if ! command -v go >/dev/null; then
            echo golang-go
            return
        fi
        have=$(go version | sed -nE 's/.* go([0-9]+(\.[0-9]+)*).*/\1/p')
        version_at_least "$have" "$go_version_min" ||
            die "go $have on PATH is older than $go_version_min and is left alone: update it, or take it off PATH"
        ;;
    python)
        if ! command -v python3 >/dev/null; then
            echo python3 python3-venv
            return
        fi
        have=$(python3 -c 'import platform; print(platform.python_version())')
        version_at_least "$have" "$python_version_min" ||
            die "python3 $have on PATH is older than $python_version_min and is left alone: update it, or take it off PATH"
        if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
            [ "$(readlink -f "$(command -v python3)")" = /usr/bin/python3.11 ] ||
                die "python3 $have on PATH lacks the modules venv and ensurepip: add them to that python3"
            echo python3-venv
        fi
        ;;
    esac
}

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        die "packages are missing ($*), and neither root nor sudo is at hand to install them"
    fi
}

# apt_retry ARG...: mirrors and locks fail for a moment at times; three tries, then it is a fault.
apt_retry() {
    local try
    for try in 1 2 3; do
        if as_root apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" >&2; then
            return 0
        fi
        say "apt-get $1 failed (try $try of 3)"
        sleep $((try * 5))
    done
    die "apt-get $1 failed three times"
}

[ $# -gt 0 ] || set -- build unit lint clients jepsen bench bare
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die "this needs Debian 12 (bookworm) or a child of it: dpkg and apt-get are not here"

wanted=()
for set_name in "$@"; do
    names=$(packages_of "$set_name")
    for name in $names; do
        is_installed "$name" || wanted+=("$name")
    done
    for tool in $(tools_of "$set_name"); do
        names=$(missing_tool_packages "$tool")
        for name in $names; do
            is_installed "$name" || wanted+=("$name")
        done
    done
done
if [ ${#wanted[@]} -eq 0 ]; then
    exit 0
fi
mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
say "installing Debian packages: ${wanted[*]}"
apt_retry update
apt_retry install -y --no-install-recommends "${wanted[@]}"
