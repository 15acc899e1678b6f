#!/usr/bin/env bash
# Runs seeds of the simulation for a chosen time on two cores: npm run sim -- --minutes N --seed S (the first seed; default: by the clock).
# Every failure names its seed; the same seed fails again. Says how many distinct crash states that were, and how many a night makes.
# All histories of three copies up to six mounts come on top: a minute or two more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=1 seed=$(($(date +%s) % 1000000))
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes needs a number}; shift 2 ;;
    --seed) seed=${2:?--seed needs a number}; shift 2 ;;
    *) printf 'usage: npm run sim -- [--minutes N] [--seed S]\n' >&2; exit 1 ;;
  esac
done
SIM_MINUTES=$minutes SIM_SEED=$seed exec npx vitest run --config test/sim/endless/vitest.config.ts
