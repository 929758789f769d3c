// The Objective-C runtime: https://developer.apple.com/documentation/objectivec
#pragma once
#include "Attributes.h"

typedef _Bool BOOL;
typedef long NSInteger;
typedef unsigned long NSUInteger;
typedef double NSTimeInterval;
typedef struct objc_selector *SEL;
typedef struct objc_class *Class;
typedef struct _NSZone NSZone;
typedef void (*IMP)(void);

NS_ASSUME_NONNULL_BEGIN

NS_SWIFT_NAME(NSObjectProtocol)
@protocol NSObject
- (BOOL)respondsToSelector:(null_unspecified SEL)selector NS_SWIFT_NAME(responds(to:));
- (null_unspecified id)performSelector:(null_unspecified SEL)selector withObject:(nullable id)object
    NS_SWIFT_NAME(perform(_:with:));
- (BOOL)isEqual:(nullable id)object;
@end

__attribute__((objc_root_class))
@interface NSObject <NSObject>
+ (instancetype)alloc;
- (instancetype)init NS_DESIGNATED_INITIALIZER;
- (null_unspecified IMP)methodForSelector:(null_unspecified SEL)selector NS_SWIFT_NAME(method(for:));
- (id)copy;
@end

NS_ASSUME_NONNULL_END
