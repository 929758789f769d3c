#!/usr/bin/env bash
# swift-env.sh: run a command with a working Swift toolchain (swift, swiftc, SwiftPM) on Linux.
#
#   swift-env.sh swift --version
#   swift-env.sh                         # only make sure that the toolchain is there
#
# Debian's own `swiftlang` is used, from a suite that has it (trixie: 6.0.3), and NOT installed on this machine: the packages are
# downloaded with a private apt state, unpacked into a cache folder (550 MB to fetch, 1.2 GB there), and used from a chroot in a
# private mount namespace. Neither the dpkg database nor any file outside the cache folder is touched, and the machine may be
# an older Debian than the suite. Nothing of the packages' maintainer scripts is run.
#
# Needs apt-get, dpkg-deb, tar, unshare, chroot and flock (all in every Debian), and root or user namespaces for everybody.
#
# Settings (environment):
#   SWIFT_ENV_CACHE   cache folder          (default: ${XDG_CACHE_HOME:-$HOME/.cache}/pilotlight/swift)
#   SWIFT_ENV_SUITE   Debian suite          (default: trixie; the `swift test` of sid's 6.2.3 does not link)
#   SWIFT_ENV_MIRROR  Debian mirror         (default: the one that this machine's apt uses)
#   SWIFT_ENV_BIND    more folders to show inside, separated by ':'. Always shown, each at its own path: the git work tree around
#                     the current folder (or that folder itself), and /tmp.
set -euo pipefail

suite=${SWIFT_ENV_SUITE:-trixie}
cache=${SWIFT_ENV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pilotlight/swift}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# Raised when what is unpacked changes: older caches are built anew.
layout=3
# bash to sed: what SwiftPM's and people's commands expect; g++: headers and crt files for clang's importer.
packages=(swiftlang g++ libc6-dev bash coreutils sed grep findutils base-files)
# Large parts that neither building nor testing needs (debugger, language servers, gcc's compilers, static and embedded standard
# libraries): leaving them out saves about half of the disk.
skip=(
  '*/libexec/swift/lib/liblldb*' '*/libexec/swift/bin/*lldb*' '*/libexec/swift/lib/libsourcekitd*'
  '*/libexec/swift/bin/sourcekit-lsp' '*/libexec/swift/bin/clangd' '*/libexec/swift/bin/docc'
  '*/libexec/swift/lib/libLTO*' '*/libexec/swift/lib/libclang.so*' '*/libexec/swift/lib/swift/embedded'
  '*/libexec/swift/lib/swift_static' '*/libexec/swift/bin/wasmkit'
  '*/libexec/gcc/*/cc1*' '*/libexec/gcc/*/lto1' '*/libexec/gcc/*/lto-dump' '*/bin/*lto-dump*'
  './usr/share/doc' './usr/share/man' './usr/share/locale' './usr/share/info'
)

die() {
  echo "swift-env: $*" >&2
  exit 1
}
for tool in apt-get dpkg-deb tar unshare chroot flock; do
  command -v "$tool" >/dev/null || die "needs $tool"
done
arch=$(dpkg --print-architecture)
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P)
# A finished tree, or absent: it is renamed into place when it is whole.
root=$cache/$suite-$arch-$layout

# apt with its own lists and archives, and with an EMPTY package status, so that every dependency is fetched. With /bin/false for
# dpkg and --download-only it cannot install anything on the machine.
private_apt() {
  local a=$cache/apt-$suite
  apt-get -q -o Dir::Etc="$a/etc" -o Dir::Etc::sourcelist="$a/etc/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State="$a/state" -o Dir::State::lists="$a/lists" -o Dir::State::status="$a/state/status" \
    -o Dir::Cache="$a/cache" -o Dir::Log="$a/log" -o Dir::Bin::dpkg=/bin/false \
    -o APT::Architecture="$arch" -o APT::Architectures::="$arch" -o APT::Sandbox::User="$(id -un)" \
    -o APT::Install-Recommends=false -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

build() {
  local a=$cache/apt-$suite mirror=${SWIFT_ENV_MIRROR:-} tmp=$root.part
  if [ -z "$mirror" ]; then
    # Whatever format this machine's sources are written in.
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Identifier: Packages' \
      | awk '$1 !~ /security/ && $1 ~ /\/debian\/?$/ && $3 == "main" { print $1; exit }')
  fi
  [ -n "$mirror" ] || die "no Debian mirror among this machine's apt sources: set SWIFT_ENV_MIRROR"
  [ -r "$keyring" ] || die "needs $keyring (package debian-archive-keyring)"
  rm -rf "$tmp" "$a"
  mkdir -p "$tmp" "$a"/{etc,state,lists/partial,cache/archives/partial,log}
  : >"$a/state/status"
  echo "deb [signed-by=$keyring] $mirror $suite main" >"$a/etc/sources.list"
  echo "swift-env: fetching $suite's swiftlang (about 550 MB) into the cache" >&2
  private_apt -q update >"$a/log/update" 2>&1 || {
    cat "$a/log/update" >&2
    die "apt update failed"
  }
  private_apt -y --download-only install "${packages[@]}" >"$a/log/fetch" 2>&1 || {
    tail -20 "$a/log/fetch" >&2
    die "download failed"
  }

  local excludes=() pattern deb folder
  for pattern in "${skip[@]}"; do excludes+=(--exclude="$pattern"); done
  # Debian's merged /usr: the links must be there before anything is unpacked through them.
  mkdir -p "$tmp"/usr/{bin,sbin,lib,lib64}
  for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$tmp/$folder"; done
  for deb in "$a"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" \
      | tar -x -C "$tmp" --no-same-owner --keep-directory-symlink "${excludes[@]}" \
      || die "cannot unpack $(basename "$deb")"
  done
  # What maintainer scripts would have done.
  ln -sf ../libexec/swift/bin/swift "$tmp/usr/bin/swift"
  [ -e "$tmp/bin/sh" ] || ln -s bash "$tmp/usr/bin/sh"
  printf 'root:x:0:0:root:/root:/bin/bash\n' >"$tmp/etc/passwd"
  printf 'root:x:0:\n' >"$tmp/etc/group"
  mkdir -p "$tmp"/{proc,sys,dev,tmp,root}
  rm -rf "$a" "$root"
  mv "$tmp" "$root"
}

# One builds at a time; a later one finds the tree finished.
(
  flock 9
  [ -d "$root" ] || build
) 9>"$cache/lock-$suite"
[ $# -gt 0 ] || exit 0

here=$(pwd -P)
top=$(git -C "$here" rev-parse --show-toplevel 2>/dev/null || echo "$here")
# It would cover the chroot itself.
[ "$top" != / ] || die "run it from inside a folder, not from /"
mkdir -p "$cache/home"
# clang's compiled modules remember their absolute path: they go when the cache folder was moved or copied.
[ "$(cat "$cache/home/.at" 2>/dev/null)" = "$cache" ] || rm -rf "$cache/home/.cache/clang"
echo "$cache" >"$cache/home/.at"
namespace=()
[ "$(id -u)" = 0 ] || namespace=(--user --map-root-user)

# In a private mount namespace, which ends with the command: show the folders at their own paths, then chroot.
exec unshare "${namespace[@]}" --mount --propagation private -- bash -euc '
  root=$1 here=$2 binds=$3 home=$4; shift 4
  for d in proc sys dev; do mount --rbind "/$d" "$root/$d"; done
  IFS=:
  for d in /tmp $binds; do
    [ -d "$d" ] || continue
    mkdir -p "$root$d"; mount --rbind "$d" "$root$d"
  done
  unset IFS
  exec chroot "$root" /usr/bin/env -i HOME="$home" PATH=/usr/bin:/bin:/usr/libexec/swift/bin LANG=C.UTF-8 \
    TERM="${TERM:-dumb}" ${CI:+CI="$CI"} \
    /bin/bash -c '\''cd "$0" && exec "$@"'\'' "$here" "$@"
' swift-env "$root" "$here" "$top:$cache/home:${SWIFT_ENV_BIND:-}" "$cache/home" "$@"
