// What becomes of a request for a run.

import Foundation

/// What the host answers to Rust. Part of the C interface.
public enum Answer {
  public static let taken: Int32 = 0
  // 1 to 4 are the codes of `BGTaskScheduler.Error`, passed on as they are:
  // https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler/error/code
  public static let systemCodes: ClosedRange<Int> = 1...4
  /// The system forbids it: the code that iOS has for it.
  public static let notPermitted: Int32 = 3
  /// The identifier is not registered in this process.
  public static let notRegistered: Int32 = 100
  public static let badArgument: Int32 = 101
  public static let needsNewerSystem: Int32 = 102
  public static let otherError: Int32 = -1

  /// The answer for an error of the scheduler.
  public static func scheduler(code: Int) -> Int32 {
    systemCodes.contains(code) ? Int32(code) : otherError
  }
}

/// A request that the system may see.
public struct Request: Sendable, Equatable {
  public let id: String
  public let kind: TaskKind
  /// Nil: as soon as the system likes.
  public let earliest: Date?

  /// Checks a request, or says what to answer. A request of an identifier without a launch handler never comes to the
  /// system: iOS answers with an exception that neither Swift nor Rust can catch.
  public static func check(
    id: String?, kind: Int32, delay: Double, now: Date, registry: Registry
  ) -> Checked {
    // Continued tasks begin at once, at the person's wish; their requests have another form.
    guard let id, let kind = TaskKind(rawValue: kind), kind != .continued, delay.isFinite, delay >= 0 else {
      return .refused(Answer.badArgument)
    }
    guard let registered = registry.kind(of: id) else { return .refused(Answer.notRegistered) }
    guard registered == kind else { return .refused(Answer.badArgument) }
    let earliest = delay > 0 ? now.addingTimeInterval(delay) : nil
    return .valid(Request(id: id, kind: kind, earliest: earliest))
  }

  public enum Checked: Sendable, Equatable {
    case valid(Request)
    case refused(Int32)
  }
}

/// A request that is pending.
public struct PendingRequest: Codable, Sendable, Equatable {
  public let id: String
  /// Unix time in milliseconds; 0 for a request without an earliest date.
  public let earliestAtMs: UInt64

  public init(id: String, earliest: Date?) {
    self.id = id
    let milliseconds = ((earliest?.timeIntervalSince1970 ?? 0) * 1000).rounded()
    // Dates from elsewhere may be anything; only what fits is converted.
    earliestAtMs = milliseconds > 0 ? UInt64(exactly: milliseconds) ?? .max : 0
  }
}
