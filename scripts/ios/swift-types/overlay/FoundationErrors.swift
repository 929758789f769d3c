// How Swift sees `NSError` and the error enumerations of the headers. The names with an underscore are those that the
// compiler looks for: https://github.com/swiftlang/swift-corelibs-foundation, NSError.swift, has the same.

extension NSError: Error {
  public var _domain: String { domain as String }
  public var _code: Int { code }
}

extension NSError: @unchecked Sendable {}

public func _convertErrorToNSError(_ error: Error) -> NSError { fatalError() }
public func _convertNSErrorToError(_ error: NSError?) -> Error { fatalError() }

public protocol _ErrorCodeProtocol: Equatable, RawRepresentable {
  associatedtype _ErrorType: _BridgedStoredNSError where _ErrorType.Code == Self
}

public protocol _BridgedNSError: Error {}

public protocol _ObjectiveCBridgeableError: Error {
  init?(_bridgedNSError: NSError)
}

public protocol _BridgedStoredNSError: _BridgedNSError, _ObjectiveCBridgeableError, Hashable {
  associatedtype Code: _ErrorCodeProtocol, RawRepresentable where Code.RawValue: FixedWidthInteger
  static var errorDomain: String { get }
  var _nsError: NSError { get }
  init(_nsError error: NSError)
}

extension _BridgedStoredNSError {
  public init(_ code: Code) { fatalError() }
  public init?(_bridgedNSError error: NSError) { return nil }
  public var code: Code { fatalError() }
  public static func == (left: Self, right: Self) -> Bool { false }
  public func hash(into hasher: inout Hasher) {}
}

extension _ErrorCodeProtocol where Self: RawRepresentable {
  public static func ~= (code: Self, error: Error) -> Bool { false }
}

extension Error {
  public var localizedDescription: String { "" }
}
