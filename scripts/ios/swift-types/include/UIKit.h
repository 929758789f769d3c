// https://developer.apple.com/documentation/uikit
#pragma once
#include "Foundation.h"

NS_ASSUME_NONNULL_BEGIN

// MARK: Views

NS_SWIFT_UI_ACTOR
@interface UIResponder : NSObject
@end

NS_SWIFT_UI_ACTOR
@interface UIView : UIResponder
@property (nonatomic) CGPoint center;
@end

// https://developer.apple.com/documentation/uikit/uiscrollview/contentinsetadjustmentbehavior-swift.enum
typedef NS_ENUM(NSInteger, UIScrollViewContentInsetAdjustmentBehavior) {
  UIScrollViewContentInsetAdjustmentAutomatic,
  UIScrollViewContentInsetAdjustmentScrollableAxes,
  UIScrollViewContentInsetAdjustmentNever,
  UIScrollViewContentInsetAdjustmentAlways,
} NS_SWIFT_NAME(UIScrollView.ContentInsetAdjustmentBehavior) IOS(11.0);

NS_SWIFT_UI_ACTOR
@interface UIScrollView : UIView
@property (nonatomic) UIScrollViewContentInsetAdjustmentBehavior contentInsetAdjustmentBehavior IOS(11.0);
@end

typedef NS_OPTIONS(NSUInteger, UIPopoverArrowDirection) {
  UIPopoverArrowDirectionUp = 1UL << 0,
  UIPopoverArrowDirectionDown = 1UL << 1,
};

NS_SWIFT_UI_ACTOR
@interface UIPopoverPresentationController : NSObject
@property (nullable, nonatomic, strong) UIView *sourceView;
@property (nonatomic) CGRect sourceRect;
@property (nonatomic) UIPopoverArrowDirection permittedArrowDirections;
@end

NS_SWIFT_UI_ACTOR
@interface UIViewController : UIResponder
@property (null_resettable, nonatomic, strong) UIView *view;
@property (nullable, nonatomic, readonly) UIPopoverPresentationController *popoverPresentationController;
@end

// MARK: The application
// https://developer.apple.com/documentation/uikit/uiapplication

// https://developer.apple.com/documentation/uikit/uibackgroundrefreshstatus
typedef NS_ENUM(NSInteger, UIBackgroundRefreshStatus) {
  UIBackgroundRefreshStatusRestricted,
  UIBackgroundRefreshStatusDenied,
  UIBackgroundRefreshStatusAvailable,
} IOS(7.0);

// https://developer.apple.com/documentation/uikit/uibackgroundtaskidentifier
typedef NSUInteger UIBackgroundTaskIdentifier NS_TYPED_ENUM;
extern const UIBackgroundTaskIdentifier UIBackgroundTaskInvalid IOS(4.0);

NS_SWIFT_UI_ACTOR IOS(2.0)
@interface UIApplication : UIResponder
@property (class, nonatomic, readonly) UIApplication *sharedApplication NS_SWIFT_NAME(shared) NOT_IN_EXTENSIONS;
@property (nonatomic, readonly) UIBackgroundRefreshStatus backgroundRefreshStatus IOS(7.0);
@property (nonatomic, readonly, getter=isProtectedDataAvailable) BOOL protectedDataAvailable IOS(4.0);
// nonisolated, with a handler on the main actor:
// https://developer.apple.com/documentation/uikit/uiapplication/beginbackgroundtask(withname:expirationhandler:)
- (UIBackgroundTaskIdentifier)beginBackgroundTaskWithName:(nullable NSString *)taskName
                                        expirationHandler:(void(^__nullable)(void))NS_SWIFT_UI_ACTOR NS_SWIFT_SENDABLE handler
    NS_SWIFT_NONISOLATED NS_SWIFT_NAME(beginBackgroundTask(withName:expirationHandler:)) IOS(7.0);
- (void)endBackgroundTask:(UIBackgroundTaskIdentifier)identifier
    NS_SWIFT_NONISOLATED NS_SWIFT_NAME(endBackgroundTask(_:)) IOS(4.0);
@end

#define APPLICATION_NOTIFICATION(name, version) \
  extern NSNotificationName const UIApplication##name##Notification NS_SWIFT_NONISOLATED IOS(version)

APPLICATION_NOTIFICATION(DidFinishLaunching, 4.0)
    NS_SWIFT_NAME(UIApplication.didFinishLaunchingNotification);
APPLICATION_NOTIFICATION(DidBecomeActive, 4.0)
    NS_SWIFT_NAME(UIApplication.didBecomeActiveNotification);
APPLICATION_NOTIFICATION(WillEnterForeground, 4.0)
    NS_SWIFT_NAME(UIApplication.willEnterForegroundNotification);
APPLICATION_NOTIFICATION(DidEnterBackground, 4.0)
    NS_SWIFT_NAME(UIApplication.didEnterBackgroundNotification);
APPLICATION_NOTIFICATION(DidReceiveMemoryWarning, 4.0)
    NS_SWIFT_NAME(UIApplication.didReceiveMemoryWarningNotification);
APPLICATION_NOTIFICATION(BackgroundRefreshStatusDidChange, 7.0)
    NS_SWIFT_NAME(UIApplication.backgroundRefreshStatusDidChangeNotification);

// These two have no "Notification" in their C name.
extern NSNotificationName const UIApplicationProtectedDataDidBecomeAvailable
    NS_SWIFT_NAME(UIApplication.protectedDataDidBecomeAvailableNotification) NS_SWIFT_NONISOLATED IOS(4.0);
extern NSNotificationName const UIApplicationProtectedDataWillBecomeUnavailable
    NS_SWIFT_NAME(UIApplication.protectedDataWillBecomeUnavailableNotification) NS_SWIFT_NONISOLATED IOS(4.0);

// MARK: Scenes
// https://developer.apple.com/documentation/uikit/uiscene

NS_SWIFT_UI_ACTOR IOS(13.0)
@interface UIScene : UIResponder
@end

extern NSNotificationName const UISceneWillConnectNotification
    NS_SWIFT_NAME(UIScene.willConnectNotification) NS_SWIFT_NONISOLATED IOS(13.0);
extern NSNotificationName const UISceneWillEnterForegroundNotification
    NS_SWIFT_NAME(UIScene.willEnterForegroundNotification) NS_SWIFT_NONISOLATED IOS(13.0);

// MARK: The device
// https://developer.apple.com/documentation/uikit/uidevice

typedef NS_ENUM(NSInteger, UIDeviceBatteryState) {
  UIDeviceBatteryStateUnknown,
  UIDeviceBatteryStateUnplugged,
  UIDeviceBatteryStateCharging,
  UIDeviceBatteryStateFull,
} NS_SWIFT_NAME(UIDevice.BatteryState) IOS(3.0);

NS_SWIFT_UI_ACTOR IOS(2.0)
@interface UIDevice : NSObject
@property (class, nonatomic, readonly) UIDevice *currentDevice NS_SWIFT_NAME(current);
@property (nonatomic, getter=isBatteryMonitoringEnabled) BOOL batteryMonitoringEnabled IOS(3.0);
@property (nonatomic, readonly) UIDeviceBatteryState batteryState IOS(3.0);
@end

extern NSNotificationName const UIDeviceBatteryStateDidChangeNotification
    NS_SWIFT_NAME(UIDevice.batteryStateDidChangeNotification) NS_SWIFT_NONISOLATED IOS(3.0);

NS_ASSUME_NONNULL_END
