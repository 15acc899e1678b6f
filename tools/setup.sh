# Sourced by the scripts beside it: brings a fresh machine to where h2ts runs. Does nothing that is done already.
# Needs: Debian (or a relative of it) with Node 20 or later and npm.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

need_node() {
  command -v node >/dev/null || die "Node.js is not installed; install Node 20 or later first"
  command -v npm >/dev/null || die "npm is not installed; it comes with Node 20"
  node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 15) ? 0 : 1)' ||
    die "Node.js $(node --version) is too old; h2ts needs 20.15 or later"
}

# Installs those of the named Debian packages that are missing.
need_packages() {
  local missing=() package as_root=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "please install these packages and try again: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "run this as root once, or install sudo: these packages are missing: ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  # A list that can't be refreshed may still be good enough to install from.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 </dev/null || true
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >&2 </dev/null || die "apt-get could not install ${missing[*]}"
}

# The npm packages of the lockfile.
need_modules() {
  if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    say "installing the packages of package-lock.json"
    npm ci --ignore-scripts --no-audit --no-fund >&2 </dev/null || die "npm ci failed"
  fi
}

# dist/ built from the sources.
need_build() {
  need_modules
  say "building"
  npm run --silent build >&2 </dev/null || die "the build failed"
}

need_root() {
  [ "$(id -u)" -eq 0 ] || die "run this as root: it $1"
}

need_fuse() {
  [ -e /dev/fuse ] || [ "$(id -u)" -ne 0 ] || modprobe fuse 2>/dev/null || true
  [ -e /dev/fuse ] || die "/dev/fuse is missing: load the kernel module fuse (modprobe fuse), or give it to this container"
}
