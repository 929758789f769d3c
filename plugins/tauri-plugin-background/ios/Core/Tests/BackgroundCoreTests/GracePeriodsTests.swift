import Foundation
import XCTest

@testable import BackgroundCore

/// `UIApplication`'s side: it counts what is begun and ended.
final class FakeApplication: GraceSystem {
  struct State {
    var handlers: [Int: @Sendable () -> Void] = [:]
    var ended: [Int] = []
    var isWilling = true
    /// Calls time from inside `begin`.
    var isImpatient = false
  }

  let state = Locked(State())

  func begin(_ name: String, onExpiration: @escaping @Sendable () -> Void) -> Int? {
    let (identifier, isImpatient) = state.with { state -> (Int?, Bool) in
      guard state.isWilling else { return (nil, false) }
      let identifier = 100 + state.handlers.count
      state.handlers[identifier] = onExpiration
      return (identifier, state.isImpatient)
    }
    if isImpatient { onExpiration() }
    return identifier
  }

  func end(_ identifier: Int) {
    state.with { $0.ended.append(identifier) }
    hear(.completed("grace", true))
  }

  func callTime(_ identifier: Int) { state.with { $0.handlers[identifier] }?() }
  var ended: [Int] { state.with { $0.ended } }
}

/// Each grace period is ended exactly once.
final class GracePeriodsTests: RecordedTestCase {
  let application = FakeApplication()
  lazy var periods = GracePeriods(application)

  func testAPeriodIsEndedOnce() {
    let token = periods.begin("stop", expired: expired)
    XCTAssertNotEqual(token, 0)
    XCTAssertEqual(application.ended, [])
    periods.end(token)
    periods.end(token)
    application.callTime(100)
    XCTAssertEqual(application.ended, [100])
    XCTAssertEqual(heard(), [.completed("grace", true)])
  }

  func testAnExpiredPeriodEndsAfterRustWasTold() {
    let token = periods.begin("stop", expired: expired)
    application.callTime(100)
    application.callTime(100)
    periods.end(token)
    XCTAssertEqual(heard(), [.expired(token), .completed("grace", true)])
    XCTAssertEqual(application.ended, [100])
  }

  func testRustEndsThePeriodInsideTheExpiry() {
    let periods = periods
    whenExpired.with { $0 = { token in periods.end(token) } }
    _ = periods.begin("stop", expired: expired)
    application.callTime(100)
    XCTAssertEqual(application.ended, [100])
  }

  func testARefusalIsZero() {
    application.state.with { $0.isWilling = false }
    XCTAssertEqual(periods.begin("stop", expired: expired), 0)
    XCTAssertEqual(application.ended, [])
  }

  func testTimeCalledBeforeTheSystemAnsweredIsARefusal() {
    application.state.with { $0.isImpatient = true }
    XCTAssertEqual(periods.begin("stop", expired: expired), 0)
    XCTAssertEqual(application.ended, [100])
    XCTAssertFalse(heard().contains(.expired(1)))
  }

  func testTokensOfNoPeriodDoNothing() {
    _ = periods.begin("stop", expired: expired)
    for token in [0, 2, UInt64.max] { periods.end(token) }
    XCTAssertEqual(application.ended, [])
  }

  func testManyThreadsEndAPeriodOnce() {
    for round in 0..<1_000 {
      let token = periods.begin("stop", expired: expired)
      let (periods, application) = (periods, application)
      DispatchQueue.concurrentPerform(iterations: 4) { thread in
        if thread == 0 { application.callTime(100 + round) } else { periods.end(token) }
      }
      guard application.ended.count == round + 1 else {
        return XCTFail("round \(round): ended \(application.ended.count) times")
      }
    }
  }
}
