// https://developer.apple.com/documentation/foundation, the part that is written in Swift: what the classes of Foundation.h
// are bridged to, and the few values that the code uses. Bodies are empty: nothing here is ever run.
@_exported import CoreFoundation
@_exported import Darwin
@_exported import Dispatch
@_exported import Foundation
@_exported import ObjectiveC

public typealias TimeInterval = Double
public typealias CGFloat = Double
public typealias NSErrorPointer = AutoreleasingUnsafeMutablePointer<NSError?>?

extension CGRect {
  public init(x: CGFloat, y: CGFloat, width: CGFloat, height: CGFloat) { fatalError() }
}

// MARK: Values

extension String: _ObjectiveCBridgeable {
  public typealias _ObjectiveCType = NSString
  public func _bridgeToObjectiveC() -> NSString { fatalError() }
  public static func _forceBridgeFromObjectiveC(_ source: NSString, result: inout String?) {}
  public static func _conditionallyBridgeFromObjectiveC(_ source: NSString, result: inout String?) -> Bool { false }
  public static func _unconditionallyBridgeFromObjectiveC(_ source: NSString?) -> String { "" }
}

extension Array: _ObjectiveCBridgeable {
  public typealias _ObjectiveCType = NSArray
  public func _bridgeToObjectiveC() -> NSArray { fatalError() }
  public static func _forceBridgeFromObjectiveC(_ source: NSArray, result: inout Array?) {}
  public static func _conditionallyBridgeFromObjectiveC(_ source: NSArray, result: inout Array?) -> Bool { false }
  public static func _unconditionallyBridgeFromObjectiveC(_ source: NSArray?) -> Array { [] }
}

extension Dictionary: _ObjectiveCBridgeable {
  public typealias _ObjectiveCType = NSDictionary
  public func _bridgeToObjectiveC() -> NSDictionary { fatalError() }
  public static func _forceBridgeFromObjectiveC(_ source: NSDictionary, result: inout Dictionary?) {}
  public static func _conditionallyBridgeFromObjectiveC(_ source: NSDictionary, result: inout Dictionary?) -> Bool {
    false
  }
  public static func _unconditionallyBridgeFromObjectiveC(_ source: NSDictionary?) -> Dictionary { [:] }
}

// https://developer.apple.com/documentation/foundation/date
public struct Date: _ObjectiveCBridgeable, Hashable, Comparable, Codable, Sendable {
  var time: TimeInterval
  public init() { time = 0 }
  public init(timeIntervalSinceNow: TimeInterval) { time = 0 }
  public init(timeIntervalSince1970: TimeInterval) { time = 0 }
  public var timeIntervalSince1970: TimeInterval { time }
  public func addingTimeInterval(_ interval: TimeInterval) -> Date { self }
  public static func < (left: Date, right: Date) -> Bool { left.time < right.time }

  public typealias _ObjectiveCType = NSDate
  public func _bridgeToObjectiveC() -> NSDate { fatalError() }
  public static func _forceBridgeFromObjectiveC(_ source: NSDate, result: inout Date?) {}
  public static func _conditionallyBridgeFromObjectiveC(_ source: NSDate, result: inout Date?) -> Bool { false }
  public static func _unconditionallyBridgeFromObjectiveC(_ source: NSDate?) -> Date { Date() }
}

// https://developer.apple.com/documentation/foundation/data
public struct Data: _ObjectiveCBridgeable, Hashable, RandomAccessCollection, Sendable {
  public enum Deallocator {
    case free, none
    case custom((UnsafeMutableRawPointer, Int) -> Void)
  }
  public init() {}
  public init<Bytes: Sequence>(_ bytes: Bytes) where Bytes.Element == UInt8 {}
  public init(bytesNoCopy bytes: UnsafeMutableRawPointer, count: Int, deallocator: Deallocator) {}
  public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    fatalError()
  }
  public var startIndex: Int { 0 }
  public var endIndex: Int { 0 }
  public subscript(index: Int) -> UInt8 { 0 }

  public typealias _ObjectiveCType = NSData
  public func _bridgeToObjectiveC() -> NSData { fatalError() }
  public static func _forceBridgeFromObjectiveC(_ source: NSData, result: inout Data?) {}
  public static func _conditionallyBridgeFromObjectiveC(_ source: NSData, result: inout Data?) -> Bool { false }
  public static func _unconditionallyBridgeFromObjectiveC(_ source: NSData?) -> Data { Data() }
}

// https://developer.apple.com/documentation/foundation/url
public struct URL: _ObjectiveCBridgeable, Hashable, Sendable {
  public init?(string: String) { return nil }
  public init(fileURLWithPath path: String, isDirectory: Bool) {}
  public var path: String { "" }
  public func appendingPathComponent(_ component: String) -> URL { self }
  public mutating func setResourceValues(_ values: URLResourceValues) throws {}

  public typealias _ObjectiveCType = NSURL
  public func _bridgeToObjectiveC() -> NSURL { fatalError() }
  public static func _forceBridgeFromObjectiveC(_ source: NSURL, result: inout URL?) {}
  public static func _conditionallyBridgeFromObjectiveC(_ source: NSURL, result: inout URL?) -> Bool { false }
  public static func _unconditionallyBridgeFromObjectiveC(_ source: NSURL?) -> URL { fatalError() }
}

// https://developer.apple.com/documentation/foundation/urlresourcevalues
public struct URLResourceValues {
  public init() {}
  public var isExcludedFromBackup: Bool? {
    get { nil }
    set {}
  }
}

// https://developer.apple.com/documentation/foundation/notification
public struct Notification: _ObjectiveCBridgeable {
  public typealias Name = NSNotification.Name
  public var name: Name
  public var object: Any?

  public typealias _ObjectiveCType = NSNotification
  public func _bridgeToObjectiveC() -> NSNotification { fatalError() }
  public static func _forceBridgeFromObjectiveC(_ source: NSNotification, result: inout Notification?) {}
  public static func _conditionallyBridgeFromObjectiveC(_ source: NSNotification, result: inout Notification?) -> Bool {
    false
  }
  public static func _unconditionallyBridgeFromObjectiveC(_ source: NSNotification?) -> Notification { fatalError() }
}

extension NSNotification.Name: @unchecked Sendable {}

extension NSString {
  public convenience init(string: String) { fatalError() }
}

extension NSString: CVarArg {
  public var _cVarArgEncoding: [Int] { [] }
}

extension String: CVarArg {
  public var _cVarArgEncoding: [Int] { [] }
}

extension NSArray: Sequence {
  public func makeIterator() -> AnyIterator<Any> { fatalError() }
}

extension NSDictionary: ExpressibleByDictionaryLiteral {
  public required convenience init(dictionaryLiteral elements: (Any, Any)...) { fatalError() }
  public subscript(key: Any) -> Any? {
    get { nil }
    set {}
  }
}

extension String {
  public struct Encoding: Sendable {
    public static let utf8 = Encoding()
  }
  public init?(data: Data, encoding: Encoding) { return nil }
  public init?<Bytes: Sequence>(bytes: Bytes, encoding: Encoding) where Bytes.Element == UInt8 { return nil }
  public func data(using encoding: Encoding, allowLossyConversion: Bool = false) -> Data? { nil }
  public func components<Separator: StringProtocol>(separatedBy separator: Separator) -> [String] { [] }
  public func trimmingCharacters(in set: CharacterSet) -> String { "" }
}

public struct CharacterSet: Sendable {
  public static let newlines = CharacterSet()
  public static let whitespaces = CharacterSet()
}

// MARK: JSON

// https://developer.apple.com/documentation/foundation/jsondecoder
open class JSONDecoder {
  public init() {}
  open var userInfo: [CodingUserInfoKey: Any] = [:]
  open func decode<T: Decodable>(_ type: T.Type, from data: Data) throws -> T { fatalError() }
}

// https://developer.apple.com/documentation/foundation/jsonencoder
open class JSONEncoder {
  public struct OutputFormatting: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
    @available(iOS 11.0, *) public static let sortedKeys = OutputFormatting(rawValue: 2)
  }
  public init() {}
  open var outputFormatting: OutputFormatting = []
  open func encode<T: Encodable>(_ value: T) throws -> Data { Data() }
}

open class JSONSerialization: NSObject {
  public struct ReadingOptions: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
  }
  public struct WritingOptions: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
  }
  open class func jsonObject(with data: Data, options: ReadingOptions = []) throws -> Any { 0 }
  open class func data(withJSONObject object: Any, options: WritingOptions = []) throws -> Data { Data() }
  open class func isValidJSONObject(_ object: Any) -> Bool { false }
}

open class ISO8601DateFormatter: NSObject {
  open func string(from date: Date) -> String { "" }
}
