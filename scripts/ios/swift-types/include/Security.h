// https://developer.apple.com/documentation/security/keychain-services
#pragma once
#include "CoreFoundation.h"

NS_ASSUME_NONNULL_BEGIN
CF_IMPLICIT_BRIDGING_ENABLED

// https://developer.apple.com/documentation/security/security-framework-result-codes
enum : OSStatus {
  errSecSuccess = 0,
  errSecParam = -50,
  errSecItemNotFound = -25300,
  errSecDuplicateItem = -25299,
  errSecInteractionNotAllowed = -25308,
  errSecDecode = -26275,
};

// https://developer.apple.com/documentation/security/item-class-keys-and-values
extern const CFStringRef kSecClass IOS(2.0);
extern const CFStringRef kSecClassGenericPassword IOS(2.0);

// https://developer.apple.com/documentation/security/item-attribute-keys-and-values
extern const CFStringRef kSecAttrService IOS(2.0);
extern const CFStringRef kSecAttrAccount IOS(2.0);
extern const CFStringRef kSecAttrSynchronizable IOS(7.0);
extern const CFStringRef kSecAttrAccessible IOS(4.0);
extern const CFStringRef kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly IOS(4.0);

// https://developer.apple.com/documentation/security/search-attribute-keys-and-values
extern const CFStringRef kSecMatchLimit IOS(2.0);
extern const CFStringRef kSecMatchLimitOne IOS(2.0);

// https://developer.apple.com/documentation/security/item-return-result-keys
extern const CFStringRef kSecReturnData IOS(2.0);
extern const CFStringRef kSecValueData IOS(2.0);

OSStatus SecItemCopyMatching(CFDictionaryRef query, CFTypeRef _Nullable *_Nullable CF_RETURNS_RETAINED result) IOS(2.0);
OSStatus SecItemAdd(CFDictionaryRef attributes, CFTypeRef _Nullable *_Nullable CF_RETURNS_RETAINED result) IOS(2.0);
OSStatus SecItemDelete(CFDictionaryRef query) IOS(2.0);

CF_IMPLICIT_BRIDGING_DISABLED
NS_ASSUME_NONNULL_END
