// https://developer.apple.com/documentation/corefoundation
@_exported import CoreFoundation

public typealias CFTypeRef = AnyObject

public protocol _CFObject: AnyObject, Hashable {}

extension _CFObject {
  public static func == (left: Self, right: Self) -> Bool { fatalError() }
  public func hash(into hasher: inout Hasher) {}
}
