import XCTest

@testable import BackgroundCore

final class NoticeTests: XCTestCase {
  func testTheIntervalIsNeverOneThatTheSystemThrowsAt() {
    XCTAssertEqual(noticeDelay(at: 1_100, now: 1_000), 100)
    for past in [1_000, 1_000.5, 999, 0, -1e18] { XCTAssertEqual(noticeDelay(at: past, now: 1_000), 1) }
    for bad in [Double.nan, .infinity, -.infinity] { XCTAssertNil(noticeDelay(at: bad, now: 1_000)) }
  }
}
