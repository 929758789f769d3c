import Foundation
import XCTest

@testable import BackgroundCore

/// The promises of `Launches`: completion at most once, whoever asks; the order of a launch.
final class LaunchesTests: RecordedTestCase {
  let launches = Launches(launched: launched, expired: expired)

  func testALaunchSetsTheHandlerBeforeItTellsRust() {
    launches.begin(FakeTask("refresh"), kind: .refresh)
    launches.begin(FakeTask("cleanup"), kind: .processing)
    launches.begin(FakeTask("sync"), kind: .continued)
    XCTAssertEqual(
      heard(),
      [
        .handlerSet("refresh"), .launched(1, "refresh", 0),
        .handlerSet("cleanup"), .launched(2, "cleanup", 1),
        .handlerSet("sync"), .launched(3, "sync", 2),
      ])
    XCTAssertEqual(launches.count, 3)
  }

  func testALaunchIsInTheTableWhenRustHearsOfIt() {
    let launches = launches
    let task = FakeTask("refresh")
    whenLaunched.with { $0 = { token in launches.complete(token, success: true) } }
    launches.begin(task, kind: .refresh)
    XCTAssertEqual(task.completions, 1)
    XCTAssertEqual(heard().last, .completed("refresh", true))
    XCTAssertEqual(launches.count, 0)
  }

  func testCompletionIsPassedOnOnce() {
    for success in [true, false] {
      let task = FakeTask("refresh")
      launches.begin(task, kind: .refresh)
      let token = success ? UInt64(1) : 2
      XCTAssertTrue(launches.complete(token, success: success))
      XCTAssertFalse(launches.complete(token, success: !success))
      XCTAssertFalse(launches.complete(token, success: success))
      XCTAssertEqual(task.completions, 1)
      XCTAssertEqual(heard().last, .completed("refresh", success))
    }
  }

  func testTokensOfNoLaunchDoNothing() {
    let task = FakeTask("refresh")
    launches.begin(task, kind: .refresh)
    for token in [0, 2, 77, UInt64.max] {
      XCTAssertFalse(launches.complete(token, success: true))
      launches.report(token, done: 1, of: 2)
    }
    XCTAssertEqual(task.completions, 0)
    XCTAssertEqual(task.state.with { $0.reports.count }, 0)
    XCTAssertEqual(launches.count, 1)
  }

  /// Many threads, one launch, an expiry in the middle of it, over and over.
  func testManyThreadsCompleteALaunchOnce() {
    let threads = 8
    let rounds = 5_000
    for round in 1...rounds {
      let task = FakeTask("refresh")
      launches.begin(task, kind: .refresh)
      let winners = Locked(0)
      let launches = launches
      DispatchQueue.concurrentPerform(iterations: threads) { thread in
        if thread == threads - 1 {
          task.callTime()
        } else if launches.complete(UInt64(round), success: thread.isMultiple(of: 2)) {
          winners.with { $0 += 1 }
        }
      }
      guard task.completions == 1, winners.with({ $0 }) == 1 else {
        return XCTFail("round \(round): \(task.completions) completions, \(winners.with { $0 }) winners")
      }
    }
    XCTAssertEqual(launches.count, 0)
    let expiries = heard().filter { if case .expired = $0 { return true } else { return false } }
    XCTAssertLessThanOrEqual(expiries.count, rounds)
  }

  /// Threads that run after each other over one row of launches. The first completes; where it is interrupted, or overtaken,
  /// in the middle of that, the next finds the same launch. Unlike many short meetings of threads this needs no luck in
  /// starting them together, so it works on a busy machine with one core as well.
  func testThreadsThatRaceThroughManyLaunchesCompleteEachOnce() {
    let count = 100_000
    let tasks = (0..<count).map { _ in CountingTask() }
    for task in tasks { launches.begin(task, kind: .refresh) }
    let launches = launches
    let finished = DispatchGroup()
    for _ in 0..<4 {
      finished.enter()
      Thread.detachNewThread {
        for token in 1...UInt64(count) { launches.complete(token, success: true) }
        finished.leave()
      }
    }
    finished.wait()
    XCTAssertEqual(tasks.filter { $0.completions.with { $0 } != 1 }.count, 0)
    XCTAssertEqual(launches.count, 0)
  }

  /// Many launches at once, each completed by several threads: no token is given twice, none is lost.
  func testManyLaunchesAtOnce() {
    let count = 500
    let tasks = (0..<count).map { FakeTask("task-\($0)") }
    let launches = launches
    DispatchQueue.concurrentPerform(iterations: count) { launches.begin(tasks[$0], kind: .processing) }
    XCTAssertEqual(launches.count, count)
    DispatchQueue.concurrentPerform(iterations: 3 * count) {
      launches.complete(UInt64($0 % count + 1), success: true)
    }
    XCTAssertEqual(tasks.map(\.completions), Array(repeating: 1, count: count))
    XCTAssertEqual(launches.count, 0)
  }

  func testTimeIsCalledOnceThenCompleted() {
    let task = FakeTask("refresh")
    launches.begin(task, kind: .refresh)
    task.callTime()
    task.callTime()
    XCTAssertEqual(heard(), [.handlerSet("refresh"), .launched(1, "refresh", 0), .expired(1)])
    // An expiry completes nothing: that is Rust's to do.
    XCTAssertEqual(task.completions, 0)
    XCTAssertTrue(launches.complete(1, success: false))
    XCTAssertEqual(task.completions, 1)
  }

  func testTimeCalledAfterCompletionIsNotPassedOn() {
    let task = FakeTask("refresh")
    launches.begin(task, kind: .refresh)
    let handler = task.state.with { $0.handler }
    launches.complete(1, success: true)
    handler?()
    XCTAssertFalse(heard().contains(.expired(1)))
  }

  func testRustCompletesInsideTheExpiry() {
    let launches = launches
    let task = FakeTask("refresh")
    whenExpired.with { $0 = { token in launches.complete(token, success: false) } }
    launches.begin(task, kind: .refresh)
    task.callTime()
    XCTAssertEqual(task.completions, 1)
    XCTAssertEqual(heard().suffix(2), [.expired(1), .completed("refresh", false)])
  }

  /// The system calls time while Rust is still being told of the launch: that comes after, not instead, and not twice.
  func testTimeCalledDuringTheLaunchComesAfterIt() {
    let task = FakeTask("refresh")
    whenLaunched.with { $0 = { _ in task.callTime(); XCTAssertFalse(heard().contains(.expired(1))) } }
    launches.begin(task, kind: .refresh)
    task.callTime()
    XCTAssertEqual(heard(), [.handlerSet("refresh"), .launched(1, "refresh", 0), .expired(1)])
  }

  func testALaunchCompletedWhileItIsAnnouncedDoesNotExpire() {
    let launches = launches
    let task = FakeTask("refresh")
    whenLaunched.with {
      $0 = { token in
        task.callTime()
        launches.complete(token, success: true)
      }
    }
    launches.begin(task, kind: .refresh)
    XCTAssertEqual(task.completions, 1)
    XCTAssertFalse(heard().contains(.expired(1)))
  }

  /// The system calls time before the launch is even in the table, from inside the setter.
  func testTimeCalledInsideTheSetterIsNotLost() {
    final class Impatient: SystemTask {
      let identifier = "refresh"
      func onExpiration(_ handler: @escaping @Sendable () -> Void) { handler() }
      func setCompleted(success: Bool) {}
      func report(done: Int64, of total: Int64) {}
    }
    launches.begin(Impatient(), kind: .refresh)
    XCTAssertEqual(heard(), [.launched(1, "refresh", 0), .expired(1)])
  }

  /// The system calls back while it is told of a completion: it must find no lock of ours held.
  func testCompletionIsOutsideTheLock() {
    let launches = launches
    let task = FakeTask("refresh")
    launches.begin(task, kind: .refresh)
    task.whileCompleting.with {
      $0 = {
        XCTAssertEqual(launches.count, 0)
        XCTAssertFalse(launches.complete(1, success: true))
        launches.begin(FakeTask("next"), kind: .refresh)
      }
    }
    guard returns({ launches.complete(1, success: true) }) else { return XCTFail("the completion hangs") }
    XCTAssertEqual(task.completions, 1)
    XCTAssertEqual(launches.count, 1)
  }

  /// In `setCompleted` the system drops its own references. The task must live until the call is over, and not longer.
  func testTheTaskLivesThroughItsCompletionAndNotLonger() {
    let freedWhileCompleting = Locked(false)
    let held = Locked<FakeTask?>(FakeTask("refresh", freedWhileCompleting: freedWhileCompleting))
    weak var task = held.with { $0 }
    held.with { [launches] held in
      if let task = held { launches.begin(task, kind: .refresh) }
      held?.whileCompleting.with { $0 = { [weak task] in task?.whileCompleting.with { $0 = nil } } }
      held = nil
    }
    XCTAssertNotNil(task, "the table holds the task")
    XCTAssertTrue(launches.complete(1, success: true))
    XCTAssertFalse(freedWhileCompleting.with { $0 })
    XCTAssertNil(task, "nothing holds a completed task: the expiration handler must not")
  }

  func testProgressIsPassedOnWithinItsBounds() {
    let task = FakeTask("sync")
    launches.begin(task, kind: .continued)
    launches.report(1, done: 3, of: 10)
    launches.report(1, done: 11, of: 10)
    launches.report(1, done: .max, of: .max)
    XCTAssertEqual(task.state.with { $0.reports }, [[3, 10], [10, 10], [.max, .max]])
    launches.complete(1, success: true)
    launches.report(1, done: 10, of: 10)
    XCTAssertEqual(task.state.with { $0.reports.count }, 3)
  }

  func testIdentifiersMayHoldAnything() {
    let identifier = "a.b-ü.\u{1F525}"
    launches.begin(FakeTask(identifier), kind: .refresh)
    XCTAssertEqual(heard().last, .launched(1, identifier, 0))
  }
}
