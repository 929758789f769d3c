// When a local notification is to come.

/// The time until a notice, or nil if the system would not take it. A moment that is past, or almost now, is now: the system
/// throws an exception at an interval that is not above zero.
/// https://developer.apple.com/documentation/usernotifications/untimeintervalnotificationtrigger
public func noticeDelay(at unixSeconds: Double, now: Double) -> Double? {
  guard unixSeconds.isFinite, now.isFinite else { return nil }
  return max(unixSeconds - now, 1)
}
