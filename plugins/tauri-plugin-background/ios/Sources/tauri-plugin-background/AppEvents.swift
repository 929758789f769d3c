// The notifications that the host listens to, and what Rust is told at each.

import BackgroundCore
import UIKit

/// Listens from now on. Nothing is started before the app has finished launching.
func observeApp(_ device: Device, changed: @escaping ChangedFunction) {
  let tell: @Sendable (Event) -> Void = { changed($0.rawValue) }
  let refresh: @MainActor @Sendable () -> Void = { if device.refresh() { tell(.factsChanged) } }
  let isInForeground = Locked(false)
  // With scenes and without, one return to the foreground is posted under several names.
  let enterForeground: @MainActor @Sendable () -> Void = {
    refresh()
    let wasInForeground = isInForeground.with { isInForeground in
      defer { isInForeground = true }
      return isInForeground
    }
    if !wasInForeground { tell(.foreground) }
  }

  observe(UIApplication.didFinishLaunchingNotification) { device.start { tell(.factsChanged) } }

  // Not when a scene connects: iOS connects scenes in the background too, and there nobody looks.
  observe(UIScene.willEnterForegroundNotification, enterForeground)
  observe(UIApplication.willEnterForegroundNotification, enterForeground)
  // The first launch of an app without scenes posts nothing else.
  observe(UIApplication.didBecomeActiveNotification, enterForeground)
  observe(UIApplication.didEnterBackgroundNotification) {
    isInForeground.with { $0 = false }
    tell(.background)
  }

  observe(UIApplication.protectedDataDidBecomeAvailableNotification) {
    device.refresh()
    tell(.unlocked)
  }
  observe(UIApplication.protectedDataWillBecomeUnavailableNotification, refresh)
  observe(UIApplication.backgroundRefreshStatusDidChangeNotification, refresh)
  observe(UIDevice.batteryStateDidChangeNotification, refresh)
  // https://developer.apple.com/documentation/foundation/nsnotification/name-swift.struct/nsprocessinfopowerstatedidchange
  observe(.NSProcessInfoPowerStateDidChange) { tell(.factsChanged) }
  observe(UIApplication.didReceiveMemoryWarningNotification) { tell(.memoryWarning) }
}

/// Calls `body` on the main thread, wherever the notification is posted. Never ends: the notification center keeps what it
/// needs for that.
private func observe(_ name: Notification.Name, _ body: @escaping @MainActor @Sendable () -> Void) {
  NotificationCenter.default.addObserver(forName: name, object: nil, queue: .main) { _ in
    MainActor.assumeIsolated { body() }
  }
}
