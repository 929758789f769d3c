// Asking the system something that it answers later, for callers that cannot wait for ever.

import Dispatch

/// How long the host waits for an answer of the system, in seconds. It comes in milliseconds, or something is wrong that
/// waiting does not mend.
public let longestWait = 1.0

/// Calls `ask` with a function that takes the answer, and waits for it. Nil if it does not come in time; an answer that
/// comes later, or again, is dropped. Not for the main thread: the answer may want to come by it.
public func answer<Value: Sendable>(
  within seconds: Double = longestWait, _ ask: (@escaping @Sendable (Value) -> Void) -> Void
) -> Value? {
  let received = Locked<Value?>(nil)
  let isReceived = DispatchSemaphore(value: 0)
  ask { value in
    received.with { $0 = $0 ?? value }
    isReceived.signal()
  }
  guard isReceived.wait(timeout: .now() + seconds) == .success else { return nil }
  return received.with { $0 }
}
