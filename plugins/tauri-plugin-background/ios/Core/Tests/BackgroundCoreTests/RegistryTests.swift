import Foundation
import XCTest

@testable import BackgroundCore

final class RegistryTests: XCTestCase {
  let refresh = TaskDeclaration(id: "app.refresh", kind: .refresh)
  let cleanup = TaskDeclaration(id: "app.cleanup", kind: .processing)
  let sync = TaskDeclaration(id: "app.sync.full", kind: .continued)

  /// Registers, and records what the system was asked.
  func register(
    _ registry: Registry, _ tasks: [TaskDeclaration], permitted: [String], supportsContinued: Bool = true,
    systemTakes: Bool = true
  ) -> (Registration, asked: [String]) {
    var asked: [String] = []
    let result = registry.register(tasks, permitted: permitted, supportsContinued: supportsContinued) {
      asked.append($0.id)
      return systemTakes
    }
    return (result, asked)
  }

  func testOnlyPermittedTasksAreRegistered() {
    let registry = Registry()
    let (result, asked) = register(registry, [refresh, cleanup], permitted: ["app.refresh", "app.other"])
    XCTAssertEqual(result.registered, ["app.refresh"])
    XCTAssertEqual(result.refused, ["app.cleanup": .notPermitted])
    XCTAssertEqual(result.permitted, ["app.refresh", "app.other"])
    XCTAssertEqual(asked, ["app.refresh"])
    XCTAssertEqual(registry.kind(of: "app.refresh"), .refresh)
    XCTAssertNil(registry.kind(of: "app.cleanup"))
  }

  /// iOS ends an app that registers an identifier twice.
  func testNothingIsRegisteredTwice() {
    let registry = Registry()
    let first = register(registry, [refresh, refresh], permitted: ["app.refresh"])
    XCTAssertEqual(first.asked, ["app.refresh"])
    XCTAssertEqual(first.0.registered, ["app.refresh"])
    XCTAssertEqual(first.0.refused, ["app.refresh": .alreadyRegistered])
    let second = register(registry, [refresh, cleanup], permitted: ["app.refresh", "app.cleanup"])
    XCTAssertEqual(second.asked, ["app.cleanup"])
    XCTAssertEqual(second.0.refused, ["app.refresh": .alreadyRegistered])
    XCTAssertEqual(registry.kind(of: "app.refresh"), .refresh)
  }

  func testWhatTheSystemRefusesIsNotTriedAgain() {
    let registry = Registry()
    let first = register(registry, [refresh], permitted: ["app.refresh"], systemTakes: false)
    XCTAssertEqual(first.0.refused, ["app.refresh": .notPermitted])
    XCTAssertNil(registry.kind(of: "app.refresh"))
    XCTAssertEqual(register(registry, [refresh], permitted: ["app.refresh"]).asked, [])
  }

  func testContinuedTasksNeedTheirSystemAndAPattern() {
    let old = register(Registry(), [sync], permitted: ["app.sync.full"], supportsContinued: false)
    XCTAssertEqual(old.0.refused, ["app.sync.full": .unsupported])
    XCTAssertEqual(old.asked, [])
    for pattern in ["app.sync.full", "app.sync.*", "app.*"] {
      XCTAssertEqual(register(Registry(), [sync], permitted: [pattern]).asked, ["app.sync.full"], pattern)
    }
    for pattern in ["app.sync", "app.sync.full.*", "app.sync*", "*", ".*", "other.*", "app.sync.full*", ""] {
      XCTAssertEqual(
        register(Registry(), [sync], permitted: [pattern]).0.refused, ["app.sync.full": .notPermitted], pattern)
    }
    // A pattern is for continued tasks only, and needs something in the star's place.
    XCTAssertEqual(register(Registry(), [refresh], permitted: ["app.*"]).asked, [])
    let bare = TaskDeclaration(id: "app.", kind: .continued)
    XCTAssertEqual(register(Registry(), [bare], permitted: ["app.*"]).asked, [])
  }

  func testDeclarationsAreRead() throws {
    XCTAssertEqual(try TaskDeclaration.list(json: "[]"), [])
    let json = #"[{"id":"app.refresh","kind":"refresh","more":1},{"kind":"processing","id":"app.cleanup"},"#
      + #"{"id":"app.sync.full","kind":"continued"}]"#
    XCTAssertEqual(try TaskDeclaration.list(json: json), [refresh, cleanup, sync])
  }

  func testHostileDeclarationsAreErrors() {
    let hostile = [
      "", " ", "null", "{}", "[", "[1]", "[null]", "[[]]", "\"\"", "[{}]", #"[{"id":"a"}]"#, #"[{"kind":"refresh"}]"#,
      #"[{"id":1,"kind":"refresh"}]"#, #"[{"id":"a","kind":"Refresh"}]"#, #"[{"id":"a","kind":0}]"#,
      #"[{"id":"a","kind":"refresh"}"#, #"[{"id":"a","kind":"refresh"}]x"#, #"{"id":"a","kind":"refresh"}"#,
      #"[{"id":"\ud800","kind":"refresh"}]"#, "\u{FEFF}\u{FEFF}", String(repeating: "[", count: 100_000),
    ]
    for json in hostile {
      XCTAssertThrowsError(try TaskDeclaration.list(json: json), String(json.prefix(40)))
    }
  }

  func testTheAnswerHasTheAgreedShape() throws {
    let registry = Registry()
    let (result, _) = register(
      registry, [refresh, cleanup, sync], permitted: ["app.refresh"], supportsContinued: false)
    XCTAssertEqual(
      try jsonText(result),
      #"{"permitted":["app.refresh"],"refused":{"app.cleanup":"notPermitted","app.sync.full":"unsupported"},"#
        + #""registered":["app.refresh"]}"#)
    XCTAssertEqual(
      try jsonText(Registration(permitted: [], error: "no JSON")),
      #"{"error":"no JSON","permitted":[],"refused":{},"registered":[]}"#)
  }
}

/// What Rust reads, by the function that the host uses.
func jsonText<Value: Encodable>(_ value: Value) throws -> String {
  let pointer = try XCTUnwrap(json(value))
  defer { free(pointer) }
  return String(cString: pointer)
}
