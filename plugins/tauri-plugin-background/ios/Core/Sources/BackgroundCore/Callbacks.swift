// The C functions that Rust hands over, and the moments at which they are called. The crate's `src/ios/ffi.rs` has the same
// list.

/// A task was launched: token, identifier, kind. Returns at once.
public typealias LaunchedFunction = @convention(c) (UInt64, UnsafePointer<CChar>, Int32) -> Void
/// Time was called on a launch, or on a grace period: token. Returns at once.
public typealias ExpiredFunction = @convention(c) (UInt64) -> Void
/// Something changed: an `Event`. Returns at once.
public typealias ChangedFunction = @convention(c) (Int32) -> Void

/// What Rust is told of the app and the device.
public enum Event: Int32, Sendable {
  /// Protected data became available: the person unlocked the device.
  case unlocked = 0
  /// The app comes to the foreground: a window is wanted.
  case foreground = 1
  /// The app went to the background.
  case background = 2
  /// A fact of the device is another now.
  case factsChanged = 3
  /// iOS is short of memory.
  case memoryWarning = 4
}
