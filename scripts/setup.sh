# Sourced by scripts/up and scripts/test: checks for what they need and installs
# it where that is possible. Says what and why before it does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOTOOLCHAIN="${GOTOOLCHAIN:-local}"

say() { printf '%s\n' "$*" >&2; }
die() { say "belfry: $*"; exit 1; }

need_tool() { # command, minimum version, how to get it, command that prints the version
  command -v "$1" >/dev/null 2>&1 || die "$1 is missing: $3"
  local have
  have=$($4 | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1)
  [ "$(printf '%s\n%s\n' "$2" "$have" | sort -V | head -n 1)" = "$2" ] || die "$1 is $have, but $2 or newer is needed: $3"
}

# need_packages build|test|clients …: installs the Debian packages of these kinds that are missing.
need_packages() {
  local kinds=" $* " need package version why missing=()
  if ! command -v dpkg-query >/dev/null 2>&1; then
    say "This is not Debian. If the build fails, install the counterparts of these packages:"
    while IFS=$'\t' read -r need package version why; do
      case "$need" in \#*|"") continue ;; esac
      if [[ "$kinds" == *" $need "* ]]; then say "  $package ($version): $why"; fi
    done < scripts/packages.tsv
    return 0
  fi
  while IFS=$'\t' read -r need package version why; do
    case "$need" in \#*|"") continue ;; esac
    [[ "$kinds" == *" $need "* ]] || continue
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] && continue
    [ ${#missing[@]} -eq 0 ] && say "Belfry needs these Debian packages, which are not installed yet:"
    say "  $package ($version): $why"
    missing+=("$package=$version")
  done < scripts/packages.tsv
  [ ${#missing[@]} -gt 0 ] || return 0
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "run this as root once: apt-get install ${missing[*]%%=*}"
    root=(sudo)
  fi
  say "Installing them with apt-get."
  local log install
  log=$(mktemp)
  install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0)
  "${root[@]}" apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update failed"; }
  # A security update replaces a version in the archive: then the newer one is taken, and said.
  "${install[@]}" "${missing[@]}" >"$log" 2>&1 || {
    say "Not every tested version is in the archive any more; installing the current ones."
    "${install[@]}" "${missing[@]%%=*}" >"$log" 2>&1 || { cat "$log" >&2; die "apt-get install failed"; }
  }
  rm -f "$log"
}

need_go()   { need_tool go 1.26 "install Go 1.26 or newer from go.dev" "go version"; }
need_node() { need_tool node 20 "install Node 20 or newer from nodejs.org" "node --version"; }

# npm_ci DIR: installs what DIR's lock file names, unless that was done before.
npm_ci() {
  local stamp="$1/node_modules/.installed"
  if [ ! -f "$stamp" ] || ! cmp -s "$1/package-lock.json" "$stamp"; then
    say "Installing the npm packages of $1/package-lock.json."
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error >&2)
    cp "$1/package-lock.json" "$stamp"
  fi
}

# build_page bundles the meeting page into the program's embedded files.
build_page() {
  npm_ci web
  (cd web && npm run --silent build >&2)
}
