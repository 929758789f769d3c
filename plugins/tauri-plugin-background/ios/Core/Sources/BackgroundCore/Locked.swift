// A value that only one thread at a time gets to see.

import Foundation

public final class Locked<Value>: @unchecked Sendable {  // The lock guards the value, which never leaves it.
  private let lock = NSLock()
  private var value: Value

  public init(_ value: Value) {
    self.value = value
  }

  /// Runs `body` alone with the value. Call nothing of the system in it, and nobody back: that belongs outside the lock.
  public func with<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
    lock.lock()
    defer { lock.unlock() }
    return try body(&value)
  }
}
