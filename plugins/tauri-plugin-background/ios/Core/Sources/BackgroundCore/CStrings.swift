// Text across the C boundary: in as UTF-8 that may be anything, out as memory that the caller frees.

import Foundation

/// The longest text that is read, in bytes. Identifiers, names and the list of tasks are far below it.
let longestText = 1 << 20

/// The text, or nil for a null pointer, for what is no UTF-8, and for what has no end in sight.
public func text(_ pointer: UnsafePointer<CChar>?) -> String? {
  guard let pointer, strnlen(pointer, longestText) < longestText else { return nil }
  return String(validatingUTF8: pointer)
}

/// The text with at least one character.
public func nonEmptyText(_ pointer: UnsafePointer<CChar>?) -> String? {
  text(pointer).flatMap { $0.isEmpty ? nil : $0 }
}

/// JSON to be freed with `free`. Nil if there is no memory for it.
public func json<Value: Encodable>(_ value: Value) -> UnsafeMutablePointer<CChar>? {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys]
  guard let data = try? encoder.encode(value) else { return nil }
  return strdup(String(decoding: data, as: UTF8.self))
}
