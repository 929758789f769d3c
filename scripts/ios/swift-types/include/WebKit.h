// https://developer.apple.com/documentation/webkit/wkwebview
#pragma once
#include "UIKit.h"

NS_ASSUME_NONNULL_BEGIN

NS_SWIFT_UI_ACTOR IOS(8.0)
@interface WKWebView : UIView
@property (nonatomic, readonly, strong) UIScrollView *scrollView;
@end

NS_ASSUME_NONNULL_END
