#!/usr/bin/env bash
# rust-env.sh: type-check or compile Rust code for iOS on a Debian 12 (x86_64) host,
# with no Mac, no Xcode and no rustup target.
#
#   rust-env.sh                          same as: rust-env.sh check --lib
#   rust-env.sh check --lib [cargo args]
#   rust-env.sh build --lib --release    makes <target dir>/<triple>/release/lib<name>.a
#   rust-env.sh setup                    only install/prepare, run no cargo command
#
# It runs in the current directory, the one with the app's Cargo.toml.
# What it gives: real rustc + real std for the iOS target, real C compiled to Mach-O. So
# `check` proves that all `cfg(target_os = "ios")` Rust compiles, and `build` that code
# generation, ring's assembly, secp256k1's C and so on compile too.
# What it does NOT do: link an app, compile Swift/Objective-C, or run anything. Undefined
# symbols (Swift `@_cdecl` functions, Apple frameworks) are found only by Xcode's link step.
#
# How: Debian's `rustc-web` is a current rustc, and `rust-web-src` is its own std source. From
# them std is built once per target into a private sysroot, so the app is then compiled with a
# plain stable-mode rustc (no -Zbuild-std, no RUSTC_BOOTSTRAP: that would make build scripts
# of crates believe that they are on nightly). C needs only Darwin's libc headers, which the
# PyPI package `ziglang` carries; only the headers are taken from it.
#
# Settings (environment):
#   IOS_TARGET                  aarch64-apple-ios (default), aarch64-apple-ios-sim, x86_64-apple-ios
#   IPHONEOS_DEPLOYMENT_TARGET  default 16.0, as in tauri.conf.json
#   IOS_CHECK_CACHE            default ${XDG_CACHE_HOME:-$HOME/.cache}/pilotlight/ios-check
#   CARGO_TARGET_DIR           default ${XDG_CACHE_HOME:-$HOME/.cache}/pilotlight/target-ios
#   IOS_CHECK_NO_INSTALL=1      never call apt-get; fail if something is missing
set -euo pipefail

TARGET=${IOS_TARGET:-aarch64-apple-ios}
CACHE=${IOS_CHECK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pilotlight/ios-check}
LLVM=22                # same LLVM major as rustc-web's
ZIG=0.15.2             # version of the PyPI package whose headers are used
STD_RECIPE=2           # raise to force a rebuild of std
export IPHONEOS_DEPLOYMENT_TARGET=${IPHONEOS_DEPLOYMENT_TARGET:-16.0}

say() { printf 'rust-env: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

case $TARGET in
  aarch64-apple-ios | aarch64-apple-ios-sim | x86_64-apple-ios) ;;
  *) die "unknown IOS_TARGET '$TARGET'" ;;
esac

# ---------------------------------------------------------------- packages
install_packages() {
  local want=(rustc-web cargo-web rust-web-src "clang-$LLVM" "llvm-$LLVM" gcc libc6-dev) missing=() p
  command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || want+=(python3 python3-pip)
  for p in "${want[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return
  [ -z "${IOS_CHECK_NO_INSTALL:-}" ] || die "missing Debian packages: ${missing[*]}"
  say "installing ${missing[*]}"
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get -o DPkg::Lock::Timeout=600 -qq update
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq -y \
    --no-install-recommends install "${missing[@]}" >/dev/null
}

# Debian's own programs by full path: a rustup in front of them on PATH must not be used here,
# because std has to be built from the source of exactly the compiler that uses it.
RUSTC_BIN=/usr/bin/rustc
CARGO_BIN=/usr/bin/cargo
SRC=/usr/lib/rustlib/src/rust/library

# ---------------------------------------------------------------- Darwin headers as a stand-in SDK
prepare_sdk() {
  # one for device and simulator: the headers are the same
  SDKDIR=$CACHE/sdk-zig$ZIG/Darwin.sdk
  if [ ! -e "$SDKDIR/usr/lib/libSystem.tbd" ]; then
    say "fetching Darwin libc headers (from the ziglang $ZIG wheel)"
    local tmp
    tmp=$(mktemp -d)
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$tmp" "ziglang==$ZIG"
    python3 - "$tmp"/ziglang-*.whl "$SDKDIR/usr" <<'PY'
import os, sys, zipfile
wheel, usr = sys.argv[1:]
def keep(entry, *path):
    dest = os.path.join(usr, *path)
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    with open(dest, "wb") as f:
        f.write(z.read(entry))
headers = 0
with zipfile.ZipFile(wheel) as z:
    for entry in z.infolist():
        name = entry.filename
        for key in ("lib/libc/include/any-darwin-any/", "lib/libc/include/any-macos-any/"):
            if key in name and not entry.is_dir():
                keep(entry, "include", name.split(key, 1)[1])
                headers += 1
        # the symbols that an app may leave to the system's C library: archive.mjs reads them
        if name.endswith("lib/libc/darwin/libSystem.tbd"):
            keep(entry, "lib", "libSystem.tbd")
if not headers:
    sys.exit("no Darwin headers in " + wheel)
PY
    rm -rf "$tmp"
  fi
}

# ---------------------------------------------------------------- std for the target, built once
prepare_std() {
  local ver host stamp lib work
  ver=$("$RUSTC_BIN" -vV | sed -n 's/^release: //p')
  host=$("$RUSTC_BIN" -vV | sed -n 's/^host: //p')
  [ -e "$SRC/std/src/lib.rs" ] || die "no std source at $SRC"
  case $(readlink -f "$SRC") in
    */rustc-"${ver%%-*}"*) ;;
    *) die "std source $(readlink -f "$SRC") is not that of rustc $ver" ;;
  esac
  SYSROOT=$CACHE/sysroot-$ver
  lib=$SYSROOT/lib/rustlib/$TARGET/lib
  stamp="$("$RUSTC_BIN" -vV | sed -n 's/^commit-hash: //p') $STD_RECIPE"
  mkdir -p "$SYSROOT/lib/rustlib" "$SYSROOT/bin"
  # the host's std, for build scripts and procedural macros
  ln -sfn "$("$RUSTC_BIN" --print sysroot)/lib/rustlib/$host" "$SYSROOT/lib/rustlib/$host"
  # cargo calls this as its rustc
  printf '#!/bin/sh\nexec %s --sysroot "%s" "$@"\n' "$RUSTC_BIN" "$SYSROOT" >"$SYSROOT/bin/rustc"
  chmod +x "$SYSROOT/bin/rustc"
  [ "$(cat "$lib/.stamp" 2>/dev/null)" = "$stamp" ] && return

  say "building std $ver for $TARGET (once, a few minutes)"
  work=$(mktemp -d)
  cp -r "$SRC/." "$work/library"
  # The std workspace without its test crates (they need crates that nothing here uses), and
  # libstd as an rlib only: a dylib would have to be linked against Apple's SDK.
  sed -i '/"coretests",/d; /"alloctests",/d' "$work/library/Cargo.toml"
  sed -i 's/^crate-type = .*/crate-type = ["rlib"]/' "$work/library/std/Cargo.toml"
  (
    cd "$work/library"
    env -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER -u CARGO_BUILD_TARGET \
      RUSTC_BOOTSTRAP=1 RUSTC="$RUSTC_BIN" CARGO_TARGET_DIR="$work/target" \
      RUSTFLAGS='-Zforce-unstable-if-unmarked -Cstrip=debuginfo' \
      "$CARGO_BIN" build -q --release --target "$TARGET" -p sysroot --features backtrace
  ) || { rm -rf "$work"; die "std did not build"; }
  rm -rf "$lib"
  mkdir -p "$lib"
  cp "$work/target/$TARGET/release/deps/"*.rlib "$lib/"
  rm -rf "$work"
  printf '%s' "$stamp" >"$lib/.stamp"
}

# ---------------------------------------------------------------- main
mkdir -p "$CACHE"
[ $# -gt 0 ] || set -- check --lib
install_packages
prepare_sdk
prepare_std
[ "$1" != setup ] || { say "ready: $("$RUSTC_BIN" -V), $TARGET"; exit 0; }
[ -e Cargo.toml ] || die "no Cargo.toml in $PWD"

t=${TARGET//-/_}
# The `cc` crate takes SDKROOT instead of asking xcrun, and adds --target=arm64-apple-ios<min>
# and -isysroot itself. Only names with the target in them: the host's C compiler stays as it is.
export SDKROOT=$SDKDIR
export "CC_$t=clang-$LLVM" "CXX_$t=clang++-$LLVM" "AR_$t=llvm-ar-$LLVM" "RANLIB_$t=llvm-ranlib-$LLVM"
export RUSTC=$SYSROOT/bin/rustc
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pilotlight/target-ios}
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
unset RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_BUILD_TARGET RUSTUP_TOOLCHAIN || true

cmd=$1
shift
say "$("$RUSTC_BIN" -V) | cargo $cmd --target $TARGET $*"
exec "$CARGO_BIN" "$cmd" --target "$TARGET" "$@"
