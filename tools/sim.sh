#!/usr/bin/env bash
# Runs seeds of the simulation for a chosen time on two cores: npm run sim -- --minutes N --seed S (the first seed; default: by the clock).
# Every failure names its seed; the same seed fails again. Says how many distinct crash states that were, and how many a night makes.
# All histories of three copies up to six mounts come on top: a minute or two more. Set-up included.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

minutes=1 seed=$(($(date +%s) % 1000000))
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes needs a number}; shift 2 ;;
    --seed) seed=${2:?--seed needs a number}; shift 2 ;;
    *) printf 'usage: npm run sim -- [--minutes N] [--seed S]\n' >&2; exit 1 ;;
  esac
done
need_node
need_modules
export SIM_MINUTES=$minutes SIM_SEED=$seed
program=dist/sim/crashes.mjs
npx rolldown test/sim/endless/crashes.ts --file "$program" --no-codeSplitting --format esm --platform node --sourcemap \
  --external koffi,fuse-native,vitest --logLevel warn

# Room for young objects: what a state leaves behind is gone before it is moved.
parts=() status=0
for part in 0 1; do
  node --enable-source-maps --max-semi-space-size=32 "$program" "$part" &
  parts+=($!)
done
trap 'kill "${parts[@]}" 2>/dev/null || true' EXIT
for part in "${parts[@]}"; do wait "$part" || status=1; done
npx vitest run --config test/sim/endless/vitest.config.ts || status=1
exit "$status"
