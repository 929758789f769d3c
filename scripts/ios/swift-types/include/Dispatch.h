// https://developer.apple.com/documentation/dispatch
//
// Only the class that other frameworks name in their signatures; its Swift face is in overlay/Dispatch.swift.
#pragma once
#include "ObjectiveC.h"

NS_ASSUME_NONNULL_BEGIN

NS_SWIFT_SENDABLE NS_SWIFT_NAME(DispatchQueue)
@interface OS_dispatch_queue : NSObject
@end

NS_ASSUME_NONNULL_END
