import Foundation
import XCTest

@testable import BackgroundCore

final class WaitingTests: XCTestCase {
  func testAnAnswerIsTaken() {
    XCTAssertEqual(answer { (reply: @escaping @Sendable (Int) -> Void) in reply(7) }, 7)
    let later = answer { (reply: @escaping @Sendable (Int) -> Void) in
      DispatchQueue.global().asyncAfter(deadline: .now() + 0.01) { reply(8) }
    }
    XCTAssertEqual(later, 8)
    XCTAssertEqual(answer { (reply: @escaping @Sendable (Int) -> Void) in reply(1); reply(2) }, 1)
  }

  func testNoAnswerIsNil() {
    let begun = Date()
    XCTAssertNil(answer(within: 0.05) { (_: @escaping @Sendable (Int) -> Void) in })
    XCTAssertLessThan(Date().timeIntervalSince(begun), 2)
    let late = answer(within: 0.01) { (reply: @escaping @Sendable (Int) -> Void) in
      DispatchQueue.global().asyncAfter(deadline: .now() + 0.2) { reply(8) }
    }
    XCTAssertNil(late)
  }
}
