// https://developer.apple.com/documentation/usernotifications
#pragma once
#include "Foundation.h"

NS_ASSUME_NONNULL_BEGIN

extern NSString *const UNErrorDomain IOS(10.0);

// https://developer.apple.com/documentation/usernotifications/unerror/code
typedef NS_ERROR_ENUM(UNErrorDomain, UNErrorCode){
  UNErrorCodeNotificationsNotAllowed = 1,
  UNErrorCodeAttachmentInvalidURL = 100,
  UNErrorCodeNotificationInvalidNoDate = 1400,
  UNErrorCodeNotificationInvalidNoContent = 1401,
} IOS(10.0);

// https://developer.apple.com/documentation/usernotifications/unauthorizationoptions
typedef NS_OPTIONS(NSUInteger, UNAuthorizationOptions) {
  UNAuthorizationOptionBadge = (1 << 0),
  UNAuthorizationOptionSound = (1 << 1),
  UNAuthorizationOptionAlert = (1 << 2),
} IOS(10.0);

IOS(10.0)
@interface UNNotificationSound : NSObject <NSCopying>
@property (class, copy, readonly) UNNotificationSound *defaultSound NS_SWIFT_NAME(default);
- (instancetype)init NS_UNAVAILABLE;
@end

IOS(10.0)
@interface UNNotificationContent : NSObject <NSCopying>
@end

// https://developer.apple.com/documentation/usernotifications/unmutablenotificationcontent
IOS(10.0)
@interface UNMutableNotificationContent : UNNotificationContent
@property (nonatomic, copy) NSString *title;
@property (nonatomic, copy) NSString *body;
@property (nonatomic, nullable, copy) UNNotificationSound *sound;
@end

IOS(10.0)
@interface UNNotificationTrigger : NSObject <NSCopying>
- (instancetype)init NS_UNAVAILABLE;
@end

// https://developer.apple.com/documentation/usernotifications/untimeintervalnotificationtrigger
IOS(10.0)
@interface UNTimeIntervalNotificationTrigger : UNNotificationTrigger
+ (instancetype)triggerWithTimeInterval:(NSTimeInterval)timeInterval repeats:(BOOL)repeats;
@end

// https://developer.apple.com/documentation/usernotifications/unnotificationrequest
IOS(10.0)
@interface UNNotificationRequest : NSObject <NSCopying>
+ (instancetype)requestWithIdentifier:(NSString *)identifier
                              content:(UNNotificationContent *)content
                              trigger:(nullable UNNotificationTrigger *)trigger;
- (instancetype)init NS_UNAVAILABLE;
@end

// https://developer.apple.com/documentation/usernotifications/unusernotificationcenter
IOS(10.0)
@interface UNUserNotificationCenter : NSObject
+ (UNUserNotificationCenter *)currentNotificationCenter NS_SWIFT_NAME(current());
- (instancetype)init NS_UNAVAILABLE;
- (void)requestAuthorizationWithOptions:(UNAuthorizationOptions)options
                      completionHandler:(void (^)(BOOL granted, NSError *_Nullable error))completionHandler;
- (void)addNotificationRequest:(UNNotificationRequest *)request
         withCompletionHandler:(nullable void (^)(NSError *_Nullable error))completionHandler;
- (void)removePendingNotificationRequestsWithIdentifiers:(NSArray<NSString *> *)identifiers;
- (void)removeDeliveredNotificationsWithIdentifiers:(NSArray<NSString *> *)identifiers;
@end

NS_ASSUME_NONNULL_END
