#!/usr/bin/env bash
# Formats a volume with two copies in image files under demo/, mounts it, keeps something in it and shows its status.
# Does its own set-up; can be run again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_node
need_packages fuse3
need_fuse
need_build

h2ts="node dist/src/cli.js"
folder=demo/volume
if mountpoint -q "$folder"; then
  say "unmounting the demo of an earlier run"
  $h2ts umount "$folder"
fi
rm -f demo/a.img demo/b.img
mkdir -p "$folder"

run() {
  printf '\n$ %s\n' "$(printf '%s' "$*" | sed 's|node dist/src/cli.js|h2ts|; s|node dist/mkfs/main.js|mkfs.h2ts|')"
  "$@"
}
run node dist/mkfs/main.js -L demo -s 1G demo/a.img demo/b.img
run $h2ts mount demo/a.img demo/b.img "$folder"
run cp -r README.md docs src "$folder/"
run $h2ts sync "$folder"
run $h2ts status "$folder"
cat <<EOF

The volume is mounted on $folder; put something in it. When you are done:
  node dist/src/cli.js umount $folder && node dist/fsck/main.js -n -f demo/a.img demo/b.img
EOF
