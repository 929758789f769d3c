// Local notifications that can be armed in a background launch, without a webview. Why not the official plugin:
// docs/decisions/0012-notifications.md of the Pilotlight repository.
// https://developer.apple.com/documentation/usernotifications/unusernotificationcenter

import BackgroundCore
import UserNotifications

enum Notices {
  static func askToAllow() {
    // Whether the person said yes shows in what `arm` answers.
    UNUserNotificationCenter.current().requestAuthorization(options: [.alert, .sound]) { _, _ in }
  }

  /// Not on the main thread: waits for the system's answer.
  static func arm(_ id: String, title: String, body: String, delay: Double) -> Int32 {
    let content = UNMutableNotificationContent()
    content.title = title
    content.body = body
    content.sound = .default
    let trigger = UNTimeIntervalNotificationTrigger(timeInterval: delay, repeats: false)
    // A request of the same identifier takes the place of the one before.
    let request = UNNotificationRequest(identifier: id, content: content, trigger: trigger)
    let taken: Int32? = answer { reply in
      UNUserNotificationCenter.current().add(request) { error in
        switch error {
        case nil: reply(Answer.taken)
        case let error as UNError where error.code == .notificationsNotAllowed: reply(Answer.notPermitted)
        case .some: reply(Answer.otherError)
        }
      }
    }
    return taken ?? Answer.otherError
  }

  /// Takes it back, and from the lock screen too if it is there.
  static func cancel(_ id: String) {
    let center = UNUserNotificationCenter.current()
    center.removePendingNotificationRequests(withIdentifiers: [id])
    center.removeDeliveredNotifications(withIdentifiers: [id])
  }
}
