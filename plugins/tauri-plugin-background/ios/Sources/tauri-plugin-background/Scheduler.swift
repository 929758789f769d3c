// BGTaskScheduler. What may be asked of it was checked before: it answers a mistake with an exception.
// https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler

import BackgroundCore
import BackgroundTasks

enum Scheduler {
  /// Launches come here one after the other. Never the main queue: the app's own loop lives there.
  private static let queue = DispatchQueue(label: "tauri-plugin-background.launches")

  static var supportsContinued: Bool {
    if #available(iOS 26.0, *) { return true }
    return false
  }

  /// Whether the system takes the task. Before the app has finished launching, and once for each identifier.
  static func register(_ task: TaskDeclaration, with launches: Launches) -> Bool {
    BGTaskScheduler.shared.register(forTaskWithIdentifier: task.id, using: queue) { launched in
      // The queue drains its own pool at a time of its choosing, and the process may be suspended before that.
      autoreleasepool { launches.begin(BackgroundTask(launched), kind: task.kind) }
    }
  }

  static func submit(_ request: Request, requiresNetwork: Bool, requiresPower: Bool) -> Int32 {
    switch request.kind {
    case .refresh:
      let refresh = BGAppRefreshTaskRequest(identifier: request.id)
      refresh.earliestBeginDate = request.earliest
      return submit(refresh)
    case .processing:
      let processing = BGProcessingTaskRequest(identifier: request.id)
      processing.earliestBeginDate = request.earliest
      processing.requiresNetworkConnectivity = requiresNetwork
      processing.requiresExternalPower = requiresPower
      return submit(processing)
    case .continued:
      return Answer.badArgument
    }
  }

  /// Begins at once or not at all: the person is looking at it.
  /// https://developer.apple.com/documentation/backgroundtasks/bgcontinuedprocessingtaskrequest/strategy
  static func startContinued(_ id: String, title: String, subtitle: String, registry: Registry) -> Int32 {
    guard #available(iOS 26.0, *) else { return Answer.needsNewerSystem }
    guard registry.kind(of: id) == .continued else { return Answer.notRegistered }
    let request = BGContinuedProcessingTaskRequest(identifier: id, title: title, subtitle: subtitle)
    request.strategy = .fail
    return submit(request)
  }

  static func cancel(_ id: String) {
    BGTaskScheduler.shared.cancel(taskRequestWithIdentifier: id)
  }

  /// Nil if the system does not answer.
  static func pending() -> [PendingRequest]? {
    answer { reply in
      BGTaskScheduler.shared.getPendingTaskRequests { requests in
        reply(requests.map { PendingRequest(id: $0.identifier, earliest: $0.earliestBeginDate) })
      }
    }
  }

  private static func submit(_ request: BGTaskRequest) -> Int32 {
    do {
      try BGTaskScheduler.shared.submit(request)
      return Answer.taken
    } catch let error as BGTaskScheduler.Error {
      return Answer.scheduler(code: error.code.rawValue)
    } catch {
      return Answer.otherError
    }
  }
}

/// A launched task of iOS. Apple's own samples use it from any queue.
private final class BackgroundTask: SystemTask, @unchecked Sendable {
  private let task: BGTask

  init(_ task: BGTask) {
    self.task = task
  }

  var identifier: String { task.identifier }

  func onExpiration(_ handler: @escaping @Sendable () -> Void) {
    task.expirationHandler = handler
  }

  func setCompleted(success: Bool) {
    task.setTaskCompleted(success: success)
  }

  func report(done: Int64, of total: Int64) {
    guard #available(iOS 26.0, *), let task = task as? BGContinuedProcessingTask else { return }
    task.progress.totalUnitCount = total
    task.progress.completedUnitCount = done
  }
}
