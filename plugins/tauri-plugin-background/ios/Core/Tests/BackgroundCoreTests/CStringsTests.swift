import Foundation
import XCTest

@testable import BackgroundCore

final class CStringsTests: XCTestCase {
  func read(_ bytes: [UInt8]) -> String? {
    bytes.withUnsafeBufferPointer { buffer in
      buffer.withMemoryRebound(to: CChar.self) { text($0.baseAddress) }
    }
  }

  func testTextIsRead() {
    XCTAssertEqual(read([0]), "")
    XCTAssertEqual(read(Array("ü\u{1F525}".utf8) + [0, 65, 0]), "ü\u{1F525}")
  }

  func testWhatIsNoTextIsNil() {
    XCTAssertNil(text(nil))
    XCTAssertNil(read([0xFF, 0]))
    XCTAssertNil(read([0xC3, 0]))
    XCTAssertNil(read([0xED, 0xA0, 0x80, 0]), "a lone surrogate")
    XCTAssertNil(read(Array(repeating: 65, count: longestText) + [0]))
    XCTAssertNil(nonEmptyText(nil))
    "".withCString { XCTAssertNil(nonEmptyText($0)) }
    "a".withCString { XCTAssertEqual(nonEmptyText($0), "a") }
  }

  func testJSONIsMemoryOfC() {
    let pointer = json(["a": 1])
    XCTAssertEqual(pointer.map { String(cString: $0) }, #"{"a":1}"#)
    free(pointer)
    XCTAssertNil(json(Double.nan), "no JSON has it")
  }
}
