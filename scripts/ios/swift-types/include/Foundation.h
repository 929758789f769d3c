// https://developer.apple.com/documentation/foundation
//
// The classes; the values that Swift has for them are in overlay/Foundation*.swift.
#pragma once
#include "CoreFoundation.h"
#include "Darwin.h"
#include "Dispatch.h"
#include "ObjectiveC.h"

NS_ASSUME_NONNULL_BEGIN

@class NSDate, NSString, NSURL, NSData, NSError, NSOperationQueue;
@class NSArray<T>;
@class NSDictionary<K, V>;

@protocol NSCopying
- (id)copyWithZone:(nullable NSZone *)zone;
@end

// MARK: Geometry (CoreGraphics)

typedef struct CGPoint {
  double x, y;
} CGPoint;

typedef struct CGSize {
  double width, height;
} CGSize;

typedef struct CGRect {
  CGPoint origin;
  CGSize size;
} CGRect;

// MARK: Values with a bridge

BRIDGED_TO(Swift.String)
@interface NSString : NSObject <NSCopying>
@end

@interface NSNumber : NSObject <NSCopying>
@end

@interface NSNull : NSObject <NSCopying>
@end

BRIDGED_TO(Foundation.Date)
@interface NSDate : NSObject <NSCopying>
@end

BRIDGED_TO(Foundation.URL)
@interface NSURL : NSObject <NSCopying>
@end

BRIDGED_TO(Foundation.Data)
@interface NSData : NSObject <NSCopying>
@end

BRIDGED_TO(Swift.Array)
@interface NSArray<__covariant T> : NSObject <NSCopying>
@end

BRIDGED_TO(Swift.Dictionary)
@interface NSDictionary<__covariant K, __covariant V> : NSObject <NSCopying>
@property (readonly, copy) NSArray<K> *allKeys;
@end

@interface NSMutableDictionary<K, V> : NSDictionary<K, V>
@end

BRIDGED_TO(Swift.Error)
@interface NSError : NSObject <NSCopying>
@property (readonly) NSInteger code;
@property (readonly, copy) NSString *domain;
@property (readonly, copy) NSString *localizedDescription;
@end

// MARK: Notifications
// https://developer.apple.com/documentation/foundation/notificationcenter

typedef NSString *NSNotificationName NS_TYPED_EXTENSIBLE_ENUM NS_SWIFT_NAME(NSNotification.Name);

BRIDGED_TO(Foundation.Notification)
@interface NSNotification : NSObject <NSCopying>
@property (readonly, copy) NSNotificationName name;
@property (nullable, readonly, retain) id object;
@end

NS_SWIFT_SENDABLE NS_SWIFT_NAME(OperationQueue)
@interface NSOperationQueue : NSObject
@property (class, readonly, strong) NSOperationQueue *mainQueue NS_SWIFT_NAME(main);
@end

NS_SWIFT_SENDABLE NS_SWIFT_NAME(NotificationCenter)
@interface NSNotificationCenter : NSObject
@property (class, readonly, strong) NSNotificationCenter *defaultCenter NS_SWIFT_NAME(default);
- (id<NSObject>)addObserverForName:(nullable NSNotificationName)name
                            object:(nullable id)object
                             queue:(nullable NSOperationQueue *)queue
                        usingBlock:(void(NS_SWIFT_SENDABLE ^)(NSNotification *notification))block
    NS_SWIFT_NAME(addObserver(forName:object:queue:using:));
@end

// MARK: Process, bundle, files

// https://developer.apple.com/documentation/foundation/bundle
NS_SWIFT_SENDABLE NS_SWIFT_NAME(Bundle)
@interface NSBundle : NSObject
@property (class, readonly, strong) NSBundle *mainBundle NS_SWIFT_NAME(main);
@property (nullable, readonly, copy) NSString *bundleIdentifier;
- (nullable id)objectForInfoDictionaryKey:(NSString *)key NS_SWIFT_NAME(object(forInfoDictionaryKey:));
@end

// https://developer.apple.com/documentation/foundation/processinfo
NS_SWIFT_SENDABLE NS_SWIFT_NAME(ProcessInfo)
@interface NSProcessInfo : NSObject
@property (class, readonly, strong) NSProcessInfo *processInfo NS_SWIFT_NAME(processInfo);
@property (readonly, getter=isLowPowerModeEnabled) BOOL lowPowerModeEnabled IOS(9.0);
@end

extern NSNotificationName const NSProcessInfoPowerStateDidChangeNotification
    NS_SWIFT_NAME(NSNotificationName.NSProcessInfoPowerStateDidChange) IOS(9.0);

// https://developer.apple.com/documentation/foundation/fileattributekey
typedef NSString *NSFileAttributeKey NS_TYPED_EXTENSIBLE_ENUM NS_SWIFT_NAME(FileAttributeKey);
typedef NSString *NSFileProtectionType NS_TYPED_ENUM NS_SWIFT_NAME(FileProtectionType);

extern NSFileAttributeKey const NSFileProtectionKey NS_SWIFT_NAME(NSFileAttributeKey.protectionKey) IOS(4.0);
extern NSFileProtectionType const NSFileProtectionCompleteUntilFirstUserAuthentication
    NS_SWIFT_NAME(NSFileProtectionType.completeUntilFirstUserAuthentication) IOS(5.0);

// https://developer.apple.com/documentation/foundation/filemanager/setattributes(_:ofitematpath:)
NS_SWIFT_SENDABLE NS_SWIFT_NAME(FileManager)
@interface NSFileManager : NSObject
@property (class, readonly, strong) NSFileManager *defaultManager NS_SWIFT_NAME(default);
- (BOOL)setAttributes:(NSDictionary<NSFileAttributeKey, id> *)attributes
         ofItemAtPath:(NSString *)path
                error:(NSError *_Nullable *_Nullable)error
    NS_SWIFT_NAME(setAttributes(_:ofItemAtPath:));
@end

// MARK: Progress
// https://developer.apple.com/documentation/foundation/progress

NS_SWIFT_SENDABLE NS_SWIFT_NAME(Progress)
@interface NSProgress : NSObject
@property long long totalUnitCount;
@property long long completedUnitCount;
@end

NS_SWIFT_NAME(ProgressReporting)
@protocol NSProgressReporting <NSObject>
@property (readonly) NSProgress *progress IOS(9.0);
@end

// MARK: Locks
// https://developer.apple.com/documentation/foundation/nslock

NS_SWIFT_SENDABLE
@interface NSLock : NSObject
- (void)lock;
- (void)unlock;
@end

NS_ASSUME_NONNULL_END
