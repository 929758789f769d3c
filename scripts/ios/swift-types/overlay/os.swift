// https://developer.apple.com/documentation/os/logging
@_exported import os
import Foundation

public struct OSLogType: Sendable {
  public static let `default` = OSLogType()
  public static let debug = OSLogType()
  public static let info = OSLogType()
  public static let error = OSLogType()
  public static let fault = OSLogType()
}

public final class OSLog: NSObject {
  public init(subsystem: String, category: String) {}
}

public func os_log(_ message: StaticString, log: OSLog, type: OSLogType, _ arguments: CVarArg...) {}
