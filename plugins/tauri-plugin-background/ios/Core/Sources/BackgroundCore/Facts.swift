// What is known of the device, in the form that Rust reads, and the few rules by which it is known.

public enum BackgroundRefresh: String, Codable, Sendable {
  case available, denied, restricted
}

public enum NetworkState: String, Codable, Sendable {
  case offline, constrained, expensive, unmetered

  /// Low Data Mode says more than the kind of the network: the person asked for it.
  /// https://developer.apple.com/documentation/network/nwpath
  public init(isSatisfied: Bool, isConstrained: Bool, isExpensive: Bool) {
    if !isSatisfied {
      self = .offline
    } else if isConstrained {
      self = .constrained
    } else if isExpensive {
      self = .expensive
    } else {
      self = .unmetered
    }
  }
}

/// Nil: not known.
public struct DeviceFacts: Codable, Sendable, Equatable {
  public var unlockedOnce: Bool?
  public var backgroundRefresh: BackgroundRefresh?
  public var lowPower: Bool?
  public var onPower: Bool?
  public var network: NetworkState?
  public var availableMemoryBytes: UInt64?

  public init() {}

  enum CodingKeys: String, CodingKey {
    case unlockedOnce, backgroundRefresh, lowPower, onPower, network, availableMemoryBytes
  }

  /// With a null for everything unknown; the compiler's own would leave it out.
  public func encode(to encoder: Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(unlockedOnce, forKey: .unlockedOnce)
    try container.encode(backgroundRefresh, forKey: .backgroundRefresh)
    try container.encode(lowPower, forKey: .lowPower)
    try container.encode(onPower, forKey: .onPower)
    try container.encode(network, forKey: .network)
    try container.encode(availableMemoryBytes, forKey: .availableMemoryBytes)
  }
}

/// What came of reading an item of the Keychain.
public enum ItemRead: Sendable {
  case found, locked, notFound, failed
}

/// Whether the device was unlocked since it started, from an item of the Keychain that can be read from then on: the canary.
///
/// `isProtectedDataAvailable` alone does not say it: on a device with a passcode it is false whenever the screen is locked.
/// Some systems answer "not found" instead of "locked" before the first unlock, so a missing canary proves nothing
/// unless protected data is available; then it is put there for the next time.
public func unlockedOnce(canary: ItemRead, protectedDataAvailable: Bool?, putCanary: () -> Void) -> Bool? {
  switch canary {
  case .found: return true
  case .locked: return false
  case .notFound:
    guard protectedDataAvailable == true else { return nil }
    putCanary()
    return true
  case .failed: return protectedDataAvailable == true ? true : nil
  }
}
