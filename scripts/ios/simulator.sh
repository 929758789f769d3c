#!/usr/bin/env bash
# Starts a built app in an iPhone simulator and looks whether it lives: scripts/ios/simulator.sh Pilotlight.app [folder]
#
# Leaves a screenshot and the app's log in the folder (default: test-artifacts/ios). On a Mac only, with a debug build: a
# release build of Tauri drops what Rust prints. The sign of life is the wallet's folder: Rust makes it when Swift tells
# it that a scene came to the foreground, so it takes the whole chain of main.mm, Rust, plugin, Swift host and back.
# BGTaskScheduler itself refuses everything in a simulator.
set -euo pipefail

app=${1:?which app?}
out=${2:-test-artifacts/ios}
id=app.pilotlight.wallet
patience=60 # seconds for the first start; a runner's simulator is slow
steady=15   # seconds that it must then go on living

mkdir -p "$out"
out=$(cd "$out" && pwd)
device=$(xcrun simctl list devices available --json |
  node -e 'const { devices } = JSON.parse(require("fs").readFileSync(0, "utf8"));
    const newest = Object.keys(devices).filter((name) => name.includes("iOS")).sort((a, b) =>
      b.localeCompare(a, "en", { numeric: true })).flatMap((name) => devices[name]);
    console.log(newest.find(({ name }) => name.startsWith("iPhone"))?.udid ?? "");')
[ -n "$device" ] || { echo "no iPhone simulator is installed" >&2; exit 1; }

xcrun simctl bootstatus "$device" -b
trap 'xcrun simctl shutdown "$device" || true' EXIT
xcrun simctl install "$device" "$app"
# Prints "app.pilotlight.wallet: 12345"; the number is a process of this Mac.
pid=$(xcrun simctl launch --terminate-running-process "$device" "$id" | awk '{ print $NF }')
data=$(xcrun simctl get_app_container "$device" "$id" data)

# What Rust prints goes to the unified log: Tauri takes stdout and stderr there.
look() {
  xcrun simctl io "$device" screenshot "$out/screen.png" || true
  xcrun simctl spawn "$device" log show --last 5m --style compact --predicate "subsystem == \"$id\"" >"$out/log.txt" || true
}

give_up() {
  look
  echo "$1. The end of its log:" >&2
  tail -40 "$out/log.txt" >&2
  exit 1
}

for ((second = 0; ; second++)); do
  kill -0 "$pid" 2>/dev/null || give_up "the app ended"
  if [ -n "$(find "$data/Library/Application Support/$id" -mindepth 1 -maxdepth 1 -type d 2>/dev/null)" ]; then break; fi
  [ "$second" -lt "$patience" ] || give_up "the app made no wallet folder in $patience s"
  sleep 1
done
echo "the app came up within $second s"
sleep "$steady"
kill -0 "$pid" 2>/dev/null || give_up "the app ended after it had come up"
look
if grep "panicked at" "$out/log.txt"; then exit 1; fi
echo "and lives"
