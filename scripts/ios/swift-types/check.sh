#!/usr/bin/env bash
# Type-checks Tauri's Swift, as published, and the plugin's host on it, for iOS, where there is no SDK of Apple's.
# Runs inside swift-env.sh; `node scripts/ios/swift.mjs types` calls it.
#
#   check.sh CACHE TAURI HOST
#     CACHE  a folder for what is built once (built things record its path); the caller sees to it that no
#            two runs share it at a time
#     TAURI  Sources/Tauri of the `tauri` crate's mobile/ios-api
#     HOST   the plugin's ios folder
#
# How: the standard library's modules are made anew for an iOS target from the interfaces that the Linux toolchain ships;
# Apple's frameworks are the headers in include/ and the Swift in overlay/. What Apple's compiler checks is then checked:
# types, labels, `try`, selectors, availability (iOS 13 is the floor), main actor. Nothing is linked or run.
set -euo pipefail
# What is built below, and how: change it and everything is built again.
recipe=$(sha256sum "${BASH_SOURCE[0]}" | cut -d' ' -f1)

cache=$1 tauri=$2 host=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# iOS 13 is the floor of Tauri's plugins (tauri-utils, link_apple_library). A simulator of this machine's kind, because that
# is what the standard library's interfaces were written for.
machine=$(uname -m)
arch=${machine/aarch64/arm64}
target=$arch-apple-ios13.0-simulator
triple=$arch-apple-ios-simulator
toolchain=/usr/libexec/swift/lib/swift
compiler=(swiftc -frontend)

mkdir -p "$cache"

# Whether the products of a step are those of these inputs; if not, they are removed.
#   is_current STEP TEXT FILE...
is_current() {
  local step=$1 text=$2; shift 2
  key=$({ echo "$recipe $text"; sha256sum "$@" | cut -d' ' -f1; } | sha256sum | cut -d' ' -f1)
  [ "$(cat "$cache/$step/key" 2>/dev/null)" = "$key" ] && return 0
  rm -rf "${cache:?}/$step"; mkdir -p "$cache/$step"
  return 1
}
# The step is done: later runs may use it.
done_with() { echo "$key" >"$cache/$1/key"; }

# ---------------------------------------------------------------- the standard library
library=$cache/library
library_key=$(swiftc --version 2>/dev/null | head -1)
interfaces=()
for module in Swift SwiftOnoneSupport _Concurrency; do
  interfaces+=("$toolchain/linux/$module.swiftmodule/$machine"-*-linux-gnu.swiftinterface)
done
if ! is_current library "$library_key" "${interfaces[@]}"; then
  echo "swift-types: the standard library for iOS (once)" >&2
  mkdir -p "$library/iphonesimulator" "$library/interfaces" "$library/sdk"
  for folder in shims clang host; do ln -s "$toolchain/$folder" "$library/$folder"; done
  for interface in "${interfaces[@]}"; do
    module=$(basename "$(dirname "$interface")" .swiftmodule)
    # Kept: the modules record their paths. `@backDeployed` wants versions that this platform has not got.
    ours=$library/interfaces/$module.swiftinterface
    sed -E -e "s/-target [^ ]+/-target $target -disable-availability-checking/; s/ -O / -Onone /" \
      -e '/^[[:space:]]*@backDeployed/s/@backDeployed\([^)]*\)//' "$interface" >"$ours"
    flags=()
    if [ "$module" = Swift ]; then
      flags=(-parse-stdlib)
      # Only platforms with Objective-C have it, and every method that throws needs it.
      cat >>"$ours" <<'SWIFT'
@frozen public struct AutoreleasingUnsafeMutablePointer<Pointee> : Swift._Pointer {
  public let _rawValue: Builtin.RawPointer
  @_transparent public init(_ _rawValue: Builtin.RawPointer) { self._rawValue = _rawValue }
  public var pointee: Pointee { get nonmutating set }
  public typealias Distance = Swift.Int
}
public func _bridgeAnyObjectToAny(_ possiblyNullObject: Swift.AnyObject?) -> Any
SWIFT
    fi
    mkdir -p "$library/iphonesimulator/$module.swiftmodule"
    "${compiler[@]}" -compile-module-from-interface -target "$target" -resource-dir "$library" "${flags[@]}" \
      -module-name "$module" -enable-library-evolution \
      -o "$library/iphonesimulator/$module.swiftmodule/$triple.swiftmodule" "$ours"
  done
  done_with library
fi

# ---------------------------------------------------------------- Apple's frameworks
modules=$cache/modules
common=(
  -target "$target" -resource-dir "$library" -sdk "$library/sdk" -swift-version 5 -parse-as-library
  -Xcc -nostdlibinc -Xcc -fapinotes-modules -I "$modules/include" -I "$modules" -module-cache-path "$modules/clang"
  -disable-implicit-string-processing-module-import
)
# emit MODULE FOLDER FILE...: makes the module in the folder.
emit() {
  local module=$1 folder=$2; shift 2
  mkdir -p "$folder/$module.swiftmodule"
  "${compiler[@]}" -emit-module "${common[@]}" -module-name "$module" \
    -o "$folder/$module.swiftmodule/$triple.swiftmodule" "$@"
}
overlay=$here/overlay
if ! is_current modules "$library_key" "$here"/include/* "$overlay"/*; then
  echo "swift-types: Apple's frameworks from their stand-ins (once for each change of them)" >&2
  # A copy, because the compiled modules record its path.
  cp -r "$here/include" "$modules/include"
  for module in ObjectiveC Darwin CoreFoundation Dispatch; do emit "$module" "$modules" "$overlay/$module.swift"; done
  emit Foundation "$modules" "$overlay/Foundation.swift" "$overlay/FoundationErrors.swift"
  for module in Network os SwiftRs; do emit "$module" "$modules" "$overlay/$module.swift"; done
  done_with modules
fi

# ---------------------------------------------------------------- Tauri
mapfile -t sources < <(find "$tauri" -name '*.swift' | sort)
[ ${#sources[@]} -gt 0 ] || { echo "swift-types: no Swift sources in $tauri" >&2; exit 2; }
if ! is_current tauri "$(cat "$modules/key")" "${sources[@]}"; then
  echo "swift-types: Tauri's Swift, unmodified" >&2
  # Its warnings are not ours to mend.
  emit Tauri "$cache/tauri" -suppress-warnings "${sources[@]}"
  done_with tauri
fi

# ---------------------------------------------------------------- ours: no warning either
strict=(-strict-concurrency=complete -warnings-as-errors)
mapfile -t core < <(find "$host/Core/Sources/BackgroundCore" -name '*.swift' | sort)
mapfile -t adapter < <(find "$host/Sources/tauri-plugin-background" -name '*.swift' | sort)
rm -rf "$cache/ours"
emit BackgroundCore "$cache/ours" "${strict[@]}" "${core[@]}"
# -emit-sil, not -typecheck: it finds also what the flow of control shows (a missing return, a value used before it is set).
"${compiler[@]}" -emit-sil -o /dev/null "${common[@]}" "${strict[@]}" -I "$cache/tauri" -I "$cache/ours" \
  -module-name tauri_plugin_background "${adapter[@]}"
echo "swift-types: ${#sources[@]} files of Tauri, $((${#core[@]} + ${#adapter[@]})) of the host: no error, no warning"
