// The Swift half of the crate swift-rs, whose published source does not hold it: the classes and signatures that Tauri uses.
// https://github.com/Brendonovich/swift-rs
import Foundation

public class SRData: NSObject {
  public override init() {}
  public init(_ data: [UInt8]) {}
  public func toArray() -> [UInt8] { [] }
}

public class SRString: SRData {
  public override init() { super.init() }
  public init(_ string: String) { super.init([]) }
  public func toString() -> String { "" }
}
