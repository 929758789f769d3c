// Grace: the time that iOS leaves an app that goes to the background with work in its hands. Each period is ended exactly
// once, by Rust or because time is up; one that is never ended costs the app its life.
// https://developer.apple.com/documentation/uikit/uiapplication/beginbackgroundtask(withname:expirationhandler:)

/// `UIApplication`, or a test's stand-in.
public protocol GraceSystem: Sendable {
  /// Nil: the system refuses. May call `onExpiration` before it returns.
  func begin(_ name: String, onExpiration: @escaping @Sendable () -> Void) -> Int?
  func end(_ identifier: Int)
}

public final class GracePeriods: Sendable {
  private enum Period {
    /// The system was asked and has not answered.
    case opening
    /// Time was called before the system answered.
    case stillborn
    case open(Int, ExpiredFunction)
  }

  private struct Table {
    var lastToken: UInt64 = 0
    var periods: [UInt64: Period] = [:]
  }

  private let table = Locked(Table())
  private let system: GraceSystem

  public init(_ system: GraceSystem) {
    self.system = system
  }

  /// The token of the period, or 0 if there is none. `expired` is called at most once, when time is up; the period is then
  /// ended as soon as it returns.
  public func begin(_ name: String, expired: @escaping ExpiredFunction) -> UInt64 {
    let token = table.with { table in
      table.lastToken += 1
      table.periods[table.lastToken] = .opening
      return table.lastToken
    }
    let identifier = system.begin(name) { [weak self] in self?.expire(token) }
    guard let identifier else {
      table.with { $0.periods[token] = nil }
      return 0
    }
    let isOpen = table.with { table in
      guard case .opening? = table.periods[token] else {
        table.periods[token] = nil
        return false
      }
      table.periods[token] = .open(identifier, expired)
      return true
    }
    if isOpen { return token }
    // Rust does not know the token yet, so to it this is a refusal.
    system.end(identifier)
    return 0
  }

  /// Ends a period. The second call does nothing.
  public func end(_ token: UInt64) {
    if let (identifier, _) = take(token) { system.end(identifier) }
  }

  private func expire(_ token: UInt64) {
    guard let (identifier, expired) = take(token) else { return }
    expired(token)
    system.end(identifier)
  }

  /// Takes an open period out of the table; whoever has it ends it.
  private func take(_ token: UInt64) -> (Int, ExpiredFunction)? {
    table.with { table in
      switch table.periods[token] {
      case .open(let identifier, let expired)?:
        table.periods[token] = nil
        return (identifier, expired)
      case .opening?:
        table.periods[token] = .stillborn
        return nil
      case .stillborn?, nil:
        return nil
      }
    }
  }
}
