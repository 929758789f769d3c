// What Rust would have heard. C functions capture nothing, so there is one record for all; each test begins with a blank
// one, and XCTest runs the tests of a process one after the other.

import Foundation
import XCTest

@testable import BackgroundCore

enum Heard: Equatable {
  case launched(UInt64, String, Int32)
  case expired(UInt64)
  /// The system heard of a completion.
  case completed(String, Bool)
  /// The system got an expiration handler for the task.
  case handlerSet(String)
}

let record = Locked<[Heard]>([])
/// Called in `launched`, after it was recorded: what Rust does at once.
let whenLaunched = Locked<(@Sendable (UInt64) -> Void)?>(nil)
/// Called in `expired`, after it was recorded.
let whenExpired = Locked<(@Sendable (UInt64) -> Void)?>(nil)

func hear(_ heard: Heard) { record.with { $0.append(heard) } }
func heard() -> [Heard] { record.with { $0 } }

func launched(token: UInt64, id: UnsafePointer<CChar>, kind: Int32) {
  hear(.launched(token, String(cString: id), kind))
  whenLaunched.with { $0 }?(token)
}

func expired(token: UInt64) {
  hear(.expired(token))
  whenExpired.with { $0 }?(token)
}

/// A test with a blank record. One that hangs, as a lock held too long would make it, ends its process and so fails.
class RecordedTestCase: XCTestCase {
  /// The longest of these tests takes a few seconds on a busy machine.
  private static let patience = DispatchTimeInterval.seconds(30)
  private var watchdog: DispatchWorkItem?

  override func tearDown() {
    watchdog?.cancel()
    super.tearDown()
  }

  override func setUp() {
    super.setUp()
    let name = name
    let watchdog = DispatchWorkItem { fatalError("\(name) hangs") }
    DispatchQueue.global().asyncAfter(deadline: .now() + RecordedTestCase.patience, execute: watchdog)
    self.watchdog = watchdog
    record.with { $0 = [] }
    whenLaunched.with { $0 = nil }
    whenExpired.with { $0 = nil }
  }

  /// Whether `body` comes back, on a thread of its own. If not, what it holds is held for ever.
  func returns(_ body: @escaping @Sendable () -> Void) -> Bool {
    let done = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      body()
      done.signal()
    }
    return done.wait(timeout: .now() + 5) == .success
  }
}

/// A task that only counts, for tests with very many.
final class CountingTask: SystemTask {
  let identifier = "refresh"
  let completions = Locked(0)

  func onExpiration(_ handler: @escaping @Sendable () -> Void) {}
  func setCompleted(success: Bool) { completions.with { $0 += 1 } }
  func report(done: Int64, of total: Int64) {}
}

/// The system's side of a task. Like `BGTask`, it drops its handler when it is completed, and aborts (here: records) if it is
/// freed, or completed again, inside that call.
final class FakeTask: SystemTask {
  struct State {
    var handler: (@Sendable () -> Void)?
    var completions = 0
    var isCompleting = false
    var reports: [[Int64]] = []
  }

  let identifier: String
  let state = Locked(State())
  /// Runs inside `setCompleted`: what the system may do meanwhile.
  let whileCompleting = Locked<(@Sendable () -> Void)?>(nil)
  let freedWhileCompleting: Locked<Bool>

  init(_ identifier: String, freedWhileCompleting: Locked<Bool> = Locked(false)) {
    self.identifier = identifier
    self.freedWhileCompleting = freedWhileCompleting
  }

  deinit {
    let isCompleting = state.with { $0.isCompleting }
    freedWhileCompleting.with { $0 = $0 || isCompleting }
  }

  var completions: Int { state.with { $0.completions } }

  func onExpiration(_ handler: @escaping @Sendable () -> Void) {
    state.with { $0.handler = handler }
    hear(.handlerSet(identifier))
  }

  func setCompleted(success: Bool) {
    state.with { state in
      state.completions += 1
      state.isCompleting = true
      state.handler = nil
    }
    hear(.completed(identifier, success))
    whileCompleting.with { $0 }?()
    state.with { $0.isCompleting = false }
  }

  func report(done: Int64, of total: Int64) {
    state.with { $0.reports.append([done, total]) }
  }

  /// Calls time, as the system does.
  func callTime() {
    state.with { $0.handler }?()
  }
}
