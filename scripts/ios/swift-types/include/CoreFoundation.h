// https://developer.apple.com/documentation/corefoundation
#pragma once
#include "Attributes.h"

typedef signed int OSStatus;
typedef const void *CFTypeRef;
typedef const struct __attribute__((objc_bridge(NSString))) __CFString *CFStringRef;
typedef const struct __attribute__((objc_bridge(NSDictionary))) __CFDictionary *CFDictionaryRef;
typedef const struct __attribute__((objc_bridge(NSAllocator))) __CFAllocator *CFAllocatorRef;

// Annotated as Apple's are: what a function gives back follows the rules of its name, so Swift counts the references.
#define CF_IMPLICIT_BRIDGING_ENABLED _Pragma("clang arc_cf_code_audited begin")
#define CF_IMPLICIT_BRIDGING_DISABLED _Pragma("clang arc_cf_code_audited end")
#define CF_RETURNS_RETAINED __attribute__((cf_returns_retained))
