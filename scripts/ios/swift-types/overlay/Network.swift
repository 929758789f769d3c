// https://developer.apple.com/documentation/network/nwpathmonitor
@_exported import Network
import Foundation

@available(iOS 12.0, *)
public struct NWPath: Equatable, Sendable {
  public enum Status: Sendable {
    case satisfied, unsatisfied, requiresConnection
  }
  public let status: Status
  public let isExpensive: Bool
  @available(iOS 13.0, *) public var isConstrained: Bool { false }
}

@available(iOS 12.0, *)
public final class NWPathMonitor {
  public init() {}
  @preconcurrency public var pathUpdateHandler: (@Sendable (_ newPath: NWPath) -> Void)?
  public func start(queue: DispatchQueue) {}
  public func cancel() {}
}
