#!/usr/bin/env bash
# Puts the commands where mount(8), fsck(8), fstab and people find them, and their manual pages where man(1) does: links into this
# checkout. Run as root.
# With --remove the links go again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

need_root "makes links in /sbin and /usr/local"
links=(
  "/usr/local/bin/h2ts dist/src/cli.js"
  "/sbin/mkfs.h2ts dist/mkfs/main.js"
  "/sbin/fsck.h2ts dist/fsck/main.js"
  "/sbin/fsck.fuse.h2ts dist/fsck/main.js"
  "/sbin/mount.h2ts dist/src/cli/mount-helper.js"
  "/sbin/mount.fuse.h2ts dist/src/cli/mount-helper.js"
)
for page in man/*.[58]; do links+=("/usr/local/share/man/man${page##*.}/${page##*/} $page"); done
if [ "${1:-}" = --remove ]; then
  for link in "${links[@]}"; do rm -f "${link% *}"; done
  exit
fi
need_node
need_build
for link in "${links[@]}"; do
  mkdir -p "$(dirname "${link% *}")"
  ln -sfn "$PWD/${link#* }" "${link% *}"
  say "${link% *}"
done
