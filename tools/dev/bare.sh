# SPDX-License-Identifier: Apache-2.0
# ./dev bare [--up-only] [--keep]: proves the two commands on a machine that has nothing. Makes a Debian bookworm root
# with debootstrap (variant minbase), clones HEAD into it at an unusual path, and runs `./dev up` there, then
# `./dev test unit clients`. Needs root (or sudo), because of chroot and mounts; all of it is undone at the end.
#
# The mirror is the one this machine's apt uses for bookworm. A network that needs proxies, private certificates or
# registry settings needs them in there too: what this machine has of them is carried in, and nothing else is.
set -euo pipefail
source "$CONCLAVE_TOP/tools/dev/lib.sh"

up_only='' keep=''
for arg in "$@"; do
    case $arg in
    --up-only) up_only=1 ;;
    --keep) keep=1 ;;
    *) usage_error "bare takes --up-only and --keep, not '$arg'" ;;
    esac
done
bash tools/dev/deps.sh bare
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "bare needs root or sudo"
    exec sudo --preserve-env bash "$CONCLAVE_TOP/tools/dev/bare.sh" "$@"
fi
if (exec 3<>/dev/tcp/127.0.0.11/5050) 2>/dev/null; then
    die "a cluster listens on 127.0.0.11:5050 already, and the bare root shares this machine's loopback: stop it first"
fi
[ -z "$(git status --porcelain)" ] || say "note: HEAD is tested; uncommitted changes are not"

base=$(mktemp -d "${TMPDIR:-/tmp}/conclave-bare.XXXXXX")
root=$base/root
inside="/opt/an unusual place/conclave"
mounted=()

cleanup() {
    local code=$? i
    trap - EXIT INT TERM
    # Ends what still runs in the root: processes whose root directory it is, by pid.
    for i in /proc/[0-9]*; do
        if [ "$(readlink "$i/root" 2>/dev/null)" = "$root" ]; then
            kill -KILL "${i#/proc/}" 2>/dev/null || continue
        fi
    done
    sleep 0.3
    for ((i = ${#mounted[@]} - 1; i >= 0; i--)); do
        umount "${mounted[i]}" 2>/dev/null || umount -l "${mounted[i]}"
    done
    if grep -qF " $root/" /proc/mounts; then
        say "something is still mounted under $root: it is left as it is"
        exit 1
    fi
    if [ -z "$keep" ]; then
        rm -rf --one-file-system "$base"
    else
        say "kept: $root"
    fi
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mount_in() { # mount_in TYPE SOURCE WHERE
    mount -t "$1" "$2" "$root$3"
    mounted+=("$root$3")
}

# debian_sources: 'URI SUITE COMPONENTS' for each of Debian's own archives that this machine's apt reads.
debian_sources() {
    apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)' 'Created-By: Packages' |
        awk -F'|' '$4 == "Debian" && $2 ~ /^bookworm/ { print $1, $2, $3 }' | sort -u
}

[ -n "$(debian_sources)" ] || apt-get -q update >&2
mirror=$(debian_sources | awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || die "this machine's apt knows no mirror of Debian bookworm"

say "debootstrap: a bare bookworm (takes about half a minute)"
mkdir -p "$logs"
debootstrap --variant=minbase bookworm "$root" "$mirror" >"$logs/bare-debootstrap.log" 2>&1 || {
    tail -n 20 "$logs/bare-debootstrap.log" >&2
    die "debootstrap failed"
}

debian_sources | sed 's/^/deb /' >"$root/etc/apt/sources.list"
for file in /etc/apt/apt.conf.d/* /etc/apt/auth.conf.d/* /etc/apt/auth.conf; do
    if [ -f "$file" ] && { [[ $file == */auth.conf* ]] || grep -qE '^ *Acquire(::| *\{)' "$file"; }; then
        install -D -m 600 "$file" "$root$file"
        chmod 644 "$root$file"
    fi
done
carried=("${HOME:-/root}/.npmrc:/root/.npmrc" "${HOME:-/root}/.config/pip/pip.conf:/root/.config/pip/pip.conf"
    "${HOME:-/root}/.pip/pip.conf:/root/.pip/pip.conf" "${HOME:-/root}/.config/go/env:/root/.config/go/env"
    /etc/pip.conf:/etc/pip.conf /etc/npmrc:/etc/npmrc /etc/resolv.conf:/etc/resolv.conf /etc/hosts:/etc/hosts)
for pair in "${carried[@]}"; do
    if [ -f "${pair%%:*}" ]; then
        install -D -m 644 "${pair%%:*}" "$root${pair#*:}"
    fi
done

# Settings of proxies and certificates, and the certificate files that they name.
settings=()
while IFS='=' read -r name value; do
    case $name in
    *_proxy | *_PROXY | GOPROXY | GOSUMDB | GONOSUMDB | GONOSUMCHECK | GOINSECURE | GOPRIVATE | NPM_CONFIG_REGISTRY | npm_config_registry | \
        PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_TRUSTED_HOST | PIP_DEFAULT_TIMEOUT | PIP_CERT | SSL_CERT_FILE | CURL_CA_BUNDLE | \
        REQUESTS_CA_BUNDLE | NODE_EXTRA_CA_CERTS | NPM_CONFIG_CAFILE | npm_config_cafile | GIT_SSL_CAINFO)
        settings+=("$name=$value")
        if [ -f "$value" ]; then
            install -D -m 644 "$value" "$root$value"
        fi
        ;;
    esac
done < <(env)
if [ -d /usr/local/share/ca-certificates ]; then
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp -rL /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
fi

mkdir -p "$root${inside%/*}"
git clone -q --no-hardlinks --no-local "$CONCLAVE_TOP" "$root$inside"
mount_in proc proc /proc
mount_in sysfs sysfs /sys
mount_in tmpfs tmpfs /run
mount --bind /dev "$root/dev"
mounted+=("$root/dev")

in_root() { # in_root SECONDS COMMAND: runs it in the clone, with a bare environment; its services cannot start
    chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        ${settings[@]+"${settings[@]}"} ${CI:+"CI=$CI"} timeout --kill-after=10 "$1" bash -c "cd '$inside' && $2" </dev/null
}

printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
SECONDS=0
in_root 900 './dev up'
say "bare: ./dev up took $SECONDS s"
in_root 60 'build/conclave dev down'
if [ -z "$up_only" ]; then
    SECONDS=0
    in_root 2400 './dev test unit clients'
    say "bare: ./dev test unit clients took $SECONDS s"
fi
say "bare: all well"
