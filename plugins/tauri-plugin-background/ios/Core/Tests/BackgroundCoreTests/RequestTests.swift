import Foundation
import XCTest

@testable import BackgroundCore

final class RequestTests: XCTestCase {
  let now = Date(timeIntervalSince1970: 1_000_000)
  let registry: Registry = {
    let registry = Registry()
    let tasks = [
      TaskDeclaration(id: "app.refresh", kind: .refresh), TaskDeclaration(id: "app.cleanup", kind: .processing),
      TaskDeclaration(id: "app.sync", kind: .continued),
    ]
    _ = registry.register(tasks, permitted: tasks.map(\.id), supportsContinued: true) { _ in true }
    return registry
  }()

  func check(_ id: String?, _ kind: Int32, _ delay: Double) -> Request.Checked {
    Request.check(id: id, kind: kind, delay: delay, now: now, registry: registry)
  }

  func testValidRequestsKeepTheirDate() {
    XCTAssertEqual(
      check("app.refresh", 0, 60),
      .valid(Request(id: "app.refresh", kind: .refresh, earliest: now.addingTimeInterval(60))))
    XCTAssertEqual(
      check("app.cleanup", 1, 0), .valid(Request(id: "app.cleanup", kind: .processing, earliest: nil)))
  }

  /// iOS throws an exception at a request without a launch handler.
  func testUnregisteredTasksNeverReachTheSystem() {
    for id in ["app.other", "", "app.refresh ", "APP.REFRESH"] {
      XCTAssertEqual(check(id, 0, 60), .refused(100), id)
    }
  }

  func testBadArgumentsAreRefused() {
    XCTAssertEqual(check(nil, 0, 60), .refused(101))
    for kind: Int32 in [-1, 2, 3, .min, .max] { XCTAssertEqual(check("app.refresh", kind, 60), .refused(101)) }
    XCTAssertEqual(check("app.refresh", 1, 60), .refused(101), "registered as another kind")
    XCTAssertEqual(check("app.sync", 2, 0), .refused(101), "continued tasks have a function of their own")
    for delay: Double in [-1, -.infinity, .infinity, .nan, -.leastNonzeroMagnitude] {
      XCTAssertEqual(check("app.refresh", 0, delay), .refused(101), "\(delay)")
    }
  }

  func testErrorsOfTheSystemKeepTheirCode() {
    XCTAssertEqual((1...4).map(Answer.scheduler(code:)), [1, 2, 3, 4])
    for code in [0, 5, -1, 100, 101, .max, .min] { XCTAssertEqual(Answer.scheduler(code: code), -1) }
  }

  func testPendingRequestsHaveTheAgreedShape() throws {
    let pending = [
      PendingRequest(id: "a", earliest: Date(timeIntervalSince1970: 1_700_000_000.25)),
      PendingRequest(id: "b\"\\\n", earliest: nil),
    ]
    XCTAssertEqual(
      try jsonText(pending),
      #"[{"earliestAtMs":1700000000250,"id":"a"},{"earliestAtMs":0,"id":"b\"\\\n"}]"#)
    XCTAssertEqual(try jsonText([PendingRequest]()), "[]")
  }

  func testDatesFromElsewhereDoNotCrash() {
    let cases: [(Double, UInt64)] = [
      (-5, 0), (-.infinity, 0), (.nan, 0), (.infinity, .max), (1e300, .max), (0.0004, 0), (0.0006, 1),
    ]
    for (seconds, milliseconds) in cases {
      let pending = PendingRequest(id: "a", earliest: Date(timeIntervalSince1970: seconds))
      XCTAssertEqual(pending.earliestAtMs, milliseconds, "\(seconds)")
    }
  }
}
