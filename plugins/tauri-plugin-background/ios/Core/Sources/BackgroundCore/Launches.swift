// The launches that are under way, and the two promises about them:
//
// * each is completed at most once, however many threads ask for it, before, while or after the system calls time;
// * Rust hears of a launch before it hears of the launch's expiry, and of that at most once.

public final class Launches: Sendable {
  private struct Table {
    var lastToken: UInt64 = 0
    var open: [UInt64: Launch] = [:]
  }

  private let table = Locked(Table())
  private let launched: LaunchedFunction
  private let expired: ExpiredFunction

  /// Takes the functions of Rust when it is made, so that no launch can find nobody home.
  public init(launched: @escaping LaunchedFunction, expired: @escaping ExpiredFunction) {
    self.launched = launched
    self.expired = expired
  }

  /// Takes a launch from the system and tells Rust. The order is the point:
  public func begin(_ task: SystemTask, kind: TaskKind) {
    let token = table.with { table in
      table.lastToken += 1
      return table.lastToken
    }
    let launch = Launch(task)
    // 1. Before anything else: a task that iOS wants to expire and that has no handler counts as failed at once.
    //    The handler holds the launch weakly; the table holds it as long as it is open.
    //    https://developer.apple.com/documentation/backgroundtasks/bgtask/expirationhandler
    task.onExpiration { [weak self, weak launch] in
      guard let self, let launch, launch.tellExpiryNow() else { return }
      self.expired(token)
    }
    // 2. In the table, or Rust could not complete what it is told of next.
    table.with { $0.open[token] = launch }
    // 3. Rust takes over. It may complete the launch before this returns.
    task.identifier.withCString { launched(token, $0, kind.rawValue) }
    // 4. Time that was called meanwhile is passed on only now.
    if launch.announced() { expired(token) }
  }

  /// Completes a launch. False, and nothing happens, if it was completed before or never was.
  @discardableResult
  public func complete(_ token: UInt64, success: Bool) -> Bool {
    // Whoever takes it out of the table completes it. Outside the lock, because the system may call back.
    guard let launch = table.with({ $0.open.removeValue(forKey: token) }) else { return false }
    launch.complete(success: success)
    return true
  }

  /// Passes on how far a launch came. The numbers may be anything.
  public func report(_ token: UInt64, done: UInt64, of total: UInt64) {
    let launch = table.with { $0.open[token] }
    let total = Int64(clamping: total)
    launch?.task.report(done: min(Int64(clamping: done), total), of: total)
  }

  /// How many launches are open.
  public var count: Int { table.with { $0.open.count } }
}

/// One launch.
private final class Launch: Sendable {
  private struct State {
    /// Rust was told of the launch.
    var isAnnounced = false
    /// The system called time.
    var isExpired = false
    /// Rust was told so, or must not be told any more.
    var expiryIsSettled = false
  }

  let task: SystemTask
  private let state = Locked(State())

  init(_ task: SystemTask) {
    self.task = task
  }

  /// The system calls time. True if Rust is to be told now.
  func tellExpiryNow() -> Bool {
    state.with { state in
      state.isExpired = true
      return state.isAnnounced && settleExpiry(&state)
    }
  }

  /// Rust was told of the launch. True if it is to be told of its expiry now.
  func announced() -> Bool {
    state.with { state in
      state.isAnnounced = true
      return state.isExpired && settleExpiry(&state)
    }
  }

  func complete(success: Bool) {
    state.with { $0.expiryIsSettled = true }
    // The system drops its own references in this call. Were ours gone by then, the task would be freed inside its own
    // method, with its lock held, and the app would abort.
    withExtendedLifetime(task) { task.setCompleted(success: success) }
  }

  private func settleExpiry(_ state: inout State) -> Bool {
    defer { state.expiryIsSettled = true }
    return !state.expiryIsSettled
  }
}
