#!/usr/bin/env bash
# Kills the worker of a busy mount by the thousand: npm run torture -- [--kills N | --minutes N] [--seed S]. Run as root. Set-up included.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

kills=2000
while [ $# -gt 0 ]; do
  case "$1" in
    --kills) kills=${2:?--kills needs a number} ;;
    --minutes) export H2TS_KILL_MINUTES=${2:?--minutes needs a number} ;;
    --seed) export H2TS_KILL_SEED=${2:?--seed needs a number} ;;
    *) echo "usage: npm run torture -- [--kills N | --minutes N] [--seed S]" >&2; exit 2 ;;
  esac
  shift 2
done
# Without root the tests would leave this one out, and say that all went well.
need_root "mounts"
need_node
need_packages fio rsync sqlite3 git
need_fuse
need_build
H2TS_KILLS=$kills exec npx vitest run test/mount/restart.test.ts -t "goes unnoticed"
