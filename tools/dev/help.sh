# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cat <<'TEXT'
./dev: the one entrance for developers

  ./dev up                    install what is needed, build, start 3 masters and 3 agents here, run a first task
  ./dev test [AREA...]        install what is needed, build, run the tests; areas:
                              lint unit asan fuzz sim integration clients jepsen (all of them, in this order, by default)
  ./dev test clients --json   one JSON line a client (also: --rounds N)

  ./dev deps [SET...]         install packages and nothing else; sets: build unit lint clients jepsen bench bare (all)
  ./dev build [PRESET...]     build a preset into build/PRESET: dev release asan tsan coverage fuzz tidy (release)
  ./dev lint [--all]          formatter, clang-tidy, cppcheck and our own checks of the source
  ./dev format                rewrite the C sources with clang-format
  ./dev fuzz [SECONDS]        build the fuzz targets and run each for SECONDS (60)
  ./dev sim [ARG...]          the seeded simulator: --seeds A..B or --seed N, --voters V --mode a|b|c|all [--mutant M]; --mutants;
                              gate [--off]: the 20,000 seeds, and the core without the guard
  ./dev jepsen [ARG...]       real processes as hosts, real faults, a checked history
  ./dev bench NAME [--json]   commit and failover beside etcd; snapshot, catchup, soak; on this machine's disk
  ./dev bare [--up-only]      the two commands again, in a bare Debian bookworm made by debootstrap
  ./dev clean                 remove build/

docs/TESTING.md says what each of them claims.
TEXT
