import Foundation
import XCTest

@testable import BackgroundCore

final class FactsTests: XCTestCase {
  func testFactsHaveTheAgreedShape() throws {
    XCTAssertEqual(
      try jsonText(DeviceFacts()),
      #"{"availableMemoryBytes":null,"backgroundRefresh":null,"lowPower":null,"network":null,"onPower":null,"#
        + #""unlockedOnce":null}"#)
    var facts = DeviceFacts()
    facts.unlockedOnce = true
    facts.backgroundRefresh = .restricted
    facts.lowPower = false
    facts.onPower = true
    facts.network = .unmetered
    facts.availableMemoryBytes = .max
    XCTAssertEqual(
      try jsonText(facts),
      #"{"availableMemoryBytes":18446744073709551615,"backgroundRefresh":"restricted","lowPower":false,"#
        + #""network":"unmetered","onPower":true,"unlockedOnce":true}"#)
  }

  func testTheNetworkIsNamedByItsCost() {
    XCTAssertEqual(NetworkState(isSatisfied: false, isConstrained: true, isExpensive: true), .offline)
    XCTAssertEqual(NetworkState(isSatisfied: true, isConstrained: true, isExpensive: true), .constrained)
    XCTAssertEqual(NetworkState(isSatisfied: true, isConstrained: false, isExpensive: true), .expensive)
    XCTAssertEqual(NetworkState(isSatisfied: true, isConstrained: false, isExpensive: false), .unmetered)
  }

  /// All that the Keychain and UIKit may say, and what follows.
  func testTheCanary() {
    let table: [(ItemRead, Bool?, Bool?, puts: Bool)] = [
      (.found, nil, true, false), (.found, false, true, false), (.found, true, true, false),
      (.locked, nil, false, false), (.locked, false, false, false), (.locked, true, false, false),
      (.notFound, nil, nil, false), (.notFound, false, nil, false), (.notFound, true, true, true),
      (.failed, nil, nil, false), (.failed, false, nil, false), (.failed, true, true, false),
    ]
    for (read, available, answer, puts) in table {
      var put = false
      let unlocked = unlockedOnce(canary: read, protectedDataAvailable: available) { put = true }
      XCTAssertEqual(unlocked, answer, "\(read), \(String(describing: available))")
      XCTAssertEqual(put, puts, "\(read), \(String(describing: available))")
    }
  }
}
