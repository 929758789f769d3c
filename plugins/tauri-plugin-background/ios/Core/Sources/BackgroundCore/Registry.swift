// Which tasks the system lets us run: read from Rust's JSON, held against the Info.plist, registered once.

import Foundation

/// A task as Rust declares it.
public struct TaskDeclaration: Decodable, Sendable, Equatable {
  public let id: String
  public let kind: TaskKind

  public init(id: String, kind: TaskKind) {
    self.id = id
    self.kind = kind
  }

  /// Reads `[{"id": "…", "kind": "refresh"}]`.
  public static func list(json: String) throws -> [TaskDeclaration] {
    try JSONDecoder().decode([TaskDeclaration].self, from: Data(json.utf8))
  }
}

/// Why a task was not registered. The names are part of the JSON.
public enum Refusal: String, Codable, Sendable {
  case notPermitted
  case alreadyRegistered
  case unsupported
}

/// What became of the declared tasks.
public struct Registration: Codable, Sendable, Equatable {
  public var registered: [String] = []
  public var refused: [String: Refusal] = [:]
  /// `BGTaskSchedulerPermittedIdentifiers` of the Info.plist.
  public let permitted: [String]
  /// Why the declarations could not be read; absent if they could.
  public var error: String?

  public init(permitted: [String], error: String? = nil) {
    self.permitted = permitted
    self.error = error
  }
}

/// The tasks of this process.
public final class Registry: Sendable {
  private struct State {
    /// Everything that was ever handed to the system: iOS ends an app that registers an identifier twice.
    var attempted: Set<String> = []
    var registered: [String: TaskKind] = [:]
  }

  private let state = Locked(State())

  public init() {}

  /// Registers what may be registered. `register` is called at most once in the process for each identifier, and answers
  /// whether the system took it.
  public func register(
    _ tasks: [TaskDeclaration], permitted: [String], supportsContinued: Bool,
    register: (TaskDeclaration) -> Bool
  ) -> Registration {
    var result = Registration(permitted: permitted)
    for task in tasks {
      if task.kind == .continued && !supportsContinued {
        result.refused[task.id] = .unsupported
      } else if !Registry.permits(permitted, task) {
        result.refused[task.id] = .notPermitted
      } else if !state.with({ $0.attempted.insert(task.id).inserted }) {
        result.refused[task.id] = .alreadyRegistered
      } else if register(task) {
        state.with { $0.registered[task.id] = task.kind }
        result.registered.append(task.id)
      } else {
        // "Returns NO if the identifier isn't included in the Info.plist"
        // https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler/register(fortaskwithidentifier:using:launchhandler:)
        result.refused[task.id] = .notPermitted
      }
    }
    return result
  }

  /// The kind under which the identifier is registered.
  public func kind(of id: String) -> TaskKind? {
    state.with { $0.registered[id] }
  }

  /// Whether the Info.plist has the identifier: literally, or for continued tasks as `prefix.*`.
  /// https://developer.apple.com/documentation/backgroundtasks/bgcontinuedprocessingtaskrequest
  static func permits(_ permitted: [String], _ task: TaskDeclaration) -> Bool {
    if permitted.contains(task.id) { return true }
    guard task.kind == .continued else { return false }
    return permitted.contains { pattern in
      guard pattern.hasSuffix(".*") else { return false }
      let prefix = pattern.dropLast()
      return task.id.hasPrefix(prefix) && task.id.utf8.count > prefix.utf8.count
    }
  }
}
