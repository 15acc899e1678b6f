#!/usr/bin/env bash
# Runs all tests, set-up included; further words go to vitest. The last line counts them: N passed, N failed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_node
need_packages fuse3 libfuse2 fio rsync attr acl sqlite3 git libnbd-bin qemu-utils nbdkit nbd-server openssl iproute2
need_build

# Node would read every certificate named here before each of the thousands of programs to come, none of which needs one.
unset NODE_EXTRA_CA_CERTS

report=$(mktemp "${TMPDIR:-/tmp}/h2ts-tests.XXXXXX")
trap 'rm -f "$report"' EXIT
status=0
H2TS_TEST_BUILT=1 npx vitest run --reporter=default --reporter=json --outputFile.json="$report" "$@" </dev/null || status=$?
# Prints the counts as the last line; fails when a test failed or none ran, whatever vitest said.
node dist/tools/count-tests.js "$report" || status=1
exit "$status"
