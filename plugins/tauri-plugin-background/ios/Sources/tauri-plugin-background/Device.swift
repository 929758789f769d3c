// The facts of the device. What only the main thread may read is kept as it was at the last notification of a change, so
// that nobody ever waits for the main thread.

import BackgroundCore
import Network
import Security
import UIKit
import os

final class Device: Sendable {
  private struct Kept: Equatable {
    var protectedDataAvailable: Bool?
    var backgroundRefresh: BackgroundRefresh?
    var onPower: Bool?
    var network: NetworkState?
  }

  private let kept = Locked(Kept())
  private let running = Locked<(UIApplication, NWPathMonitor)?>(nil)
  /// Once true, for ever: the device forgets it only when it restarts, and with it this process ends.
  private let wasUnlocked = Locked(false)

  /// The application, when it has finished launching.
  var application: UIApplication? { running.with { $0?.0 } }

  /// Begins to watch; the app has finished launching. `changed` is called from any thread.
  @MainActor func start(_ changed: @escaping @Sendable () -> Void) {
    // Without this the state is unknown.
    // https://developer.apple.com/documentation/uikit/uidevice/isbatterymonitoringenabled
    UIDevice.current.isBatteryMonitoringEnabled = true
    let monitor = NWPathMonitor()
    monitor.pathUpdateHandler = { [weak self] path in
      let network = NetworkState(
        isSatisfied: path.status == .satisfied, isConstrained: path.isConstrained, isExpensive: path.isExpensive)
      if self?.keep({ $0.network = network }) == true { changed() }
    }
    running.with { $0 = (UIApplication.shared, monitor) }
    monitor.start(queue: DispatchQueue(label: "tauri-plugin-background.network"))
    if refresh() { changed() }
  }

  /// Reads again what only the main thread may read. Whether it changed.
  @MainActor @discardableResult func refresh() -> Bool {
    let application = UIApplication.shared
    let protectedDataAvailable = application.isProtectedDataAvailable
    let backgroundRefresh = BackgroundRefresh(application.backgroundRefreshStatus)
    let onPower = isOnPower(UIDevice.current.batteryState)
    return keep { kept in
      kept.protectedDataAvailable = protectedDataAvailable
      kept.backgroundRefresh = backgroundRefresh
      kept.onPower = onPower
    }
  }

  func facts() -> DeviceFacts {
    let kept = kept.with { $0 }
    var facts = DeviceFacts()
    facts.unlockedOnce = readUnlocked(kept.protectedDataAvailable)
    facts.backgroundRefresh = kept.backgroundRefresh
    facts.lowPower = ProcessInfo.processInfo.isLowPowerModeEnabled
    facts.onPower = kept.onPower
    facts.network = kept.network
    // 0 where there is no limit, as in the simulator, and beyond it, where a number says nothing any more.
    // https://developer.apple.com/documentation/os/os_proc_available_memory
    let available = os_proc_available_memory()
    facts.availableMemoryBytes = available > 0 ? UInt64(available) : nil
    return facts
  }

  private func keep(_ change: (inout Kept) -> Void) -> Bool {
    kept.with { kept in
      let before = kept
      change(&kept)
      return kept != before
    }
  }

  private func readUnlocked(_ protectedDataAvailable: Bool?) -> Bool? {
    if wasUnlocked.with({ $0 }) { return true }
    let canary = Item(service: "tauri-plugin-background", account: "unlocked-once")
    let read: ItemRead
    switch canary.read({ _ in }) {
    case errSecSuccess: read = .found
    case errSecInteractionNotAllowed: read = .locked
    case errSecItemNotFound: read = .notFound
    default: read = .failed
    }
    let unlocked = unlockedOnce(canary: read, protectedDataAvailable: protectedDataAvailable) {
      // If it is not taken, the next call tries again.
      withUnsafeBytes(of: UInt8(1)) { _ = canary.add($0) }
    }
    if unlocked == true { wasUnlocked.with { $0 = true } }
    return unlocked
  }
}

extension BackgroundRefresh {
  fileprivate init?(_ status: UIBackgroundRefreshStatus) {
    switch status {
    case .available: self = .available
    case .denied: self = .denied
    case .restricted: self = .restricted
    @unknown default: return nil
    }
  }
}

private func isOnPower(_ state: UIDevice.BatteryState) -> Bool? {
  switch state {
  case .charging, .full: return true
  case .unplugged: return false
  case .unknown: return nil
  @unknown default: return nil
  }
}
