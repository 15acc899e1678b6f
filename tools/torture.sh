#!/usr/bin/env bash
# Kills the worker of a busy mount by the thousand: npm run torture -- [--kills N | --minutes N] [--seed S]
set -euo pipefail
cd "$(dirname "$0")/.."
kills=2000
while [ $# -gt 0 ]; do
  case "$1" in
    --kills) kills=$2 ;;
    --minutes) export H2TS_KILL_MINUTES=$2 ;;
    --seed) export H2TS_KILL_SEED=$2 ;;
    *) echo "usage: npm run torture -- [--kills N | --minutes N] [--seed S]" >&2; exit 2 ;;
  esac
  shift 2
done
npm run build --silent
H2TS_KILLS=$kills exec npx vitest run test/mount/restart.test.ts -t "goes unnoticed"
