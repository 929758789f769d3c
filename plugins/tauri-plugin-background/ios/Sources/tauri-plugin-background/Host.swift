// What the host keeps for the life of the process, and how it is put in place.

import BackgroundCore
import BackgroundTasks

final class Host: Sendable {
  static let shared = Host()

  let registry = Registry()
  let device: Device
  let grace: GracePeriods
  private let installed = Locked<Launches?>(nil)

  private init() {
    device = Device()
    grace = GracePeriods(ApplicationGrace(device))
  }

  /// The launches, from `install` on. Before it there can be none.
  var launches: Launches? { installed.with { $0 } }

  /// Keeps the functions of Rust, then registers the tasks. Runs before `UIApplicationMain`, maybe in a prewarmed process on a
  /// locked device: it touches no file, no Keychain and no network.
  /// https://developer.apple.com/documentation/uikit/about-the-app-launch-sequence
  func install(
    tasks json: String?, launched: @escaping LaunchedFunction, expired: @escaping ExpiredFunction,
    changed: @escaping ChangedFunction
  ) -> Registration {
    let (launches, isFirst) = installed.with { installed -> (Launches, Bool) in
      if let installed { return (installed, false) }
      let launches = Launches(launched: launched, expired: expired)
      installed = launches
      return (launches, true)
    }
    if isFirst { observeApp(device, changed: changed) }

    let permitted =
      Bundle.main.object(forInfoDictionaryKey: "BGTaskSchedulerPermittedIdentifiers") as? [String] ?? []
    let tasks: [TaskDeclaration]
    do {
      tasks = try TaskDeclaration.list(json: json ?? "")
    } catch {
      return Registration(permitted: permitted, error: "\(error)")
    }
    return registry.register(tasks, permitted: permitted, supportsContinued: Scheduler.supportsContinued) {
      Scheduler.register($0, with: launches)
    }
  }
}
