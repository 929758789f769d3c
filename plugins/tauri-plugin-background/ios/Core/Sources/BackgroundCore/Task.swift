// What the host knows of a background task, and what a task of the system must be able to do for it.

/// The numbers are part of the C interface, the names of the JSON.
public enum TaskKind: Int32, Decodable, Sendable {
  case refresh = 0
  case processing = 1
  case continued = 2

  public init(from decoder: Decoder) throws {
    let container = try decoder.singleValueContainer()
    switch try container.decode(String.self) {
    case "refresh": self = .refresh
    case "processing": self = .processing
    case "continued": self = .continued
    default:
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "no kind of task")
    }
  }
}

/// A launched task of the system: a `BGTask`, or a test's stand-in.
public protocol SystemTask: AnyObject, Sendable {
  var identifier: String { get }
  /// Has `handler` called when the system calls time on the task.
  func onExpiration(_ handler: @escaping @Sendable () -> Void)
  /// Tells the system that the task is over. Must not be called twice.
  func setCompleted(success: Bool)
  /// Tells the system how far a continued task came. Other tasks ignore it.
  func report(done: Int64, of total: Int64)
}
