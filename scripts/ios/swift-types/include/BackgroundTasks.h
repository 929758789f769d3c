// https://developer.apple.com/documentation/backgroundtasks
#pragma once
#include "Foundation.h"

NS_ASSUME_NONNULL_BEGIN

// MARK: Tasks
// https://developer.apple.com/documentation/backgroundtasks/bgtask

IOS(13.0)
@interface BGTask : NSObject
@property (nonatomic, readonly, copy) NSString *identifier;
@property (nonatomic, nullable, strong) void (^expirationHandler)(void);
- (instancetype)init NS_UNAVAILABLE;
+ (instancetype)new NS_UNAVAILABLE;
- (void)setTaskCompletedWithSuccess:(BOOL)success NS_SWIFT_NAME(setTaskCompleted(success:));
@end

IOS(13.0)
@interface BGProcessingTask : BGTask
@end

IOS(13.0)
@interface BGAppRefreshTask : BGTask
@end

// https://developer.apple.com/documentation/backgroundtasks/bgcontinuedprocessingtask
IOS(26.0)
@interface BGContinuedProcessingTask : BGTask <NSProgressReporting>
@property (nonatomic, readonly) NSString *title;
@property (nonatomic, readonly) NSString *subtitle;
- (void)updateTitle:(NSString *)title subtitle:(NSString *)subtitle NS_SWIFT_NAME(updateTitle(_:subtitle:));
@end

// MARK: Requests
// https://developer.apple.com/documentation/backgroundtasks/bgtaskrequest

IOS(13.0)
@interface BGTaskRequest : NSObject <NSCopying>
@property (nonatomic, readonly, copy) NSString *identifier;
@property (nonatomic, nullable, copy) NSDate *earliestBeginDate;
- (instancetype)init NS_UNAVAILABLE;
+ (instancetype)new NS_UNAVAILABLE;
@end

IOS(13.0)
@interface BGAppRefreshTaskRequest : BGTaskRequest
- (instancetype)initWithIdentifier:(NSString *)identifier;
@end

IOS(13.0)
@interface BGProcessingTaskRequest : BGTaskRequest
- (instancetype)initWithIdentifier:(NSString *)identifier;
@property (nonatomic) BOOL requiresNetworkConnectivity;
@property (nonatomic) BOOL requiresExternalPower;
@end

// https://developer.apple.com/documentation/backgroundtasks/bgcontinuedprocessingtaskrequest/submissionstrategy
typedef NS_ENUM(NSInteger, BGContinuedProcessingTaskRequestSubmissionStrategy) {
  BGContinuedProcessingTaskRequestSubmissionStrategyFail,
  BGContinuedProcessingTaskRequestSubmissionStrategyQueue,
} NS_SWIFT_NAME(BGContinuedProcessingTaskRequest.SubmissionStrategy) IOS(26.0);

// https://developer.apple.com/documentation/backgroundtasks/bgcontinuedprocessingtaskrequest
IOS(26.0)
@interface BGContinuedProcessingTaskRequest : BGTaskRequest
- (instancetype)initWithIdentifier:(NSString *)identifier title:(NSString *)title subtitle:(NSString *)subtitle;
@property (nonatomic, copy) NSString *title;
@property (nonatomic, copy) NSString *subtitle;
@property (nonatomic) BGContinuedProcessingTaskRequestSubmissionStrategy strategy;
@end

// MARK: The scheduler
// https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler

extern NSString *const BGTaskSchedulerErrorDomain IOS(13.0);

// https://developer.apple.com/documentation/backgroundtasks/bgtaskscheduler/error/code
typedef NS_ERROR_ENUM(BGTaskSchedulerErrorDomain, BGTaskSchedulerErrorCode){
  BGTaskSchedulerErrorCodeUnavailable = 1,
  BGTaskSchedulerErrorCodeTooManyPendingTaskRequests = 2,
  BGTaskSchedulerErrorCodeNotPermitted = 3,
  BGTaskSchedulerErrorCodeImmediateRunIneligible = 4,
} NS_SWIFT_NAME(BGTaskScheduler.Error) IOS(13.0);

IOS(13.0)
@interface BGTaskScheduler : NSObject
@property (class, readonly, strong) BGTaskScheduler *sharedScheduler NS_SWIFT_NAME(shared);
- (instancetype)init NS_UNAVAILABLE;
+ (instancetype)new NS_UNAVAILABLE;
- (BOOL)registerForTaskWithIdentifier:(NSString *)identifier
                           usingQueue:(nullable OS_dispatch_queue *)queue
                        launchHandler:(void (^)(__kindof BGTask *task))launchHandler
    NS_SWIFT_NAME(register(forTaskWithIdentifier:using:launchHandler:)) NOT_IN_EXTENSIONS;
- (BOOL)submitTaskRequest:(BGTaskRequest *)taskRequest error:(NSError *_Nullable *_Nullable)error
    NS_SWIFT_NAME(submit(_:));
- (void)cancelTaskRequestWithIdentifier:(NSString *)identifier NS_SWIFT_NAME(cancel(taskRequestWithIdentifier:));
- (void)cancelAllTaskRequests;
- (void)getPendingTaskRequestsWithCompletionHandler:
    (void (^)(NSArray<BGTaskRequest *> *taskRequests))completionHandler;
@end

NS_ASSUME_NONNULL_END
