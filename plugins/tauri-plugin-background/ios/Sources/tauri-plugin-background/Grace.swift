// Grace periods of iOS. Both calls may come from any thread.
// https://developer.apple.com/documentation/uikit/uiapplication/beginbackgroundtask(withname:expirationhandler:)

import BackgroundCore
import UIKit

struct ApplicationGrace: GraceSystem {
  private let device: Device

  init(_ device: Device) {
    self.device = device
  }

  func begin(_ name: String, onExpiration: @escaping @Sendable () -> Void) -> Int? {
    guard let application = device.application else { return nil }
    let identifier = application.beginBackgroundTask(withName: name) { onExpiration() }
    return identifier == .invalid ? nil : identifier.rawValue
  }

  func end(_ identifier: Int) {
    device.application?.endBackgroundTask(UIBackgroundTaskIdentifier(rawValue: identifier))
  }
}
