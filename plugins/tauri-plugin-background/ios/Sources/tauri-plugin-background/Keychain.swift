// Items of the Keychain that background work can read: from the first unlock on, on this device only, without asking for
// the person's face or finger.
// https://developer.apple.com/documentation/security/ksecattraccessibleafterfirstunlockthisdeviceonly

import BackgroundCore
import Foundation
import Security

struct Item {
  private let identity: [String: Any]

  init(service: String, account: String) {
    identity = [
      kSecClass as String: kSecClassGenericPassword,
      kSecAttrService as String: service,
      kSecAttrAccount as String: account,
      kSecAttrSynchronizable as String: false,
    ]
  }

  /// Nil if the names are none.
  init?(_ service: UnsafePointer<CChar>?, _ account: UnsafePointer<CChar>?) {
    guard let service = nonEmptyText(service), let account = nonEmptyText(account) else { return nil }
    self.init(service: service, account: account)
  }

  /// Calls `receive` once on success. The bytes are the Keychain's own copy, which is freed when this returns.
  func read(_ receive: (UnsafeRawBufferPointer) -> Void) -> OSStatus {
    var query = identity
    query[kSecReturnData as String] = true
    query[kSecMatchLimit as String] = kSecMatchLimitOne
    var found: CFTypeRef?
    let status = SecItemCopyMatching(query as CFDictionary, &found)
    guard status == errSecSuccess else { return status }
    guard let data = found as? Data else { return errSecDecode }
    data.withUnsafeBytes(receive)
    return errSecSuccess
  }

  /// Never replaces an item: `errSecDuplicateItem`. Makes no copy of the bytes.
  func add(_ bytes: UnsafeRawBufferPointer) -> OSStatus {
    guard let start = bytes.baseAddress, !bytes.isEmpty else { return errSecParam }
    var item = identity
    item[kSecAttrAccessible as String] = kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly
    item[kSecValueData as String] = Data(
      bytesNoCopy: UnsafeMutableRawPointer(mutating: start), count: bytes.count, deallocator: .none)
    return SecItemAdd(item as CFDictionary, nil)
  }

  func remove() -> OSStatus {
    SecItemDelete(identity as CFDictionary)
  }
}
