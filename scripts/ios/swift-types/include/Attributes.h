// How Apple's headers say things to Swift. Every other header here includes this one.
//
// The headers of this folder are written by hand from Apple's documentation, and hold only what Tauri's Swift and ours use.
// They are for type checking: nothing is ever linked or run. When the Swift code needs more, look the declaration up on the
// page that the header names (availability, nullability, the Swift name, the main actor) and add it.
#pragma once

#define NS_ASSUME_NONNULL_BEGIN _Pragma("clang assume_nonnull begin")
#define NS_ASSUME_NONNULL_END _Pragma("clang assume_nonnull end")
#define NS_SWIFT_NAME(name) __attribute__((swift_name(#name)))
#define NS_DESIGNATED_INITIALIZER __attribute__((objc_designated_initializer))
#define NS_UNAVAILABLE __attribute__((unavailable))
#define NS_ENUM(type, name) enum __attribute__((enum_extensibility(open))) name : type name; enum name : type
#define NS_OPTIONS(type, name) enum __attribute__((flag_enum, enum_extensibility(open))) name : type name; enum name : type
#define NS_ERROR_ENUM(domain, name) \
  enum __attribute__((ns_error_domain(domain), enum_extensibility(open))) name : NSInteger name; \
  enum __attribute__((ns_error_domain(domain), enum_extensibility(open))) name : NSInteger
#define NS_TYPED_EXTENSIBLE_ENUM __attribute__((swift_wrapper(struct)))
#define NS_TYPED_ENUM __attribute__((swift_wrapper(enum)))

// The bridge between a class of Objective-C and a value of Swift.
#define BRIDGED_TO(type) __attribute__((swift_bridge(#type)))

// Concurrency.
#define NS_SWIFT_UI_ACTOR __attribute__((swift_attr("@UIActor")))
#define NS_SWIFT_NONISOLATED __attribute__((swift_attr("nonisolated")))
#define NS_SWIFT_SENDABLE __attribute__((swift_attr("@Sendable")))

// Availability, by the iOS that brought it.
#define IOS(version) __attribute__((availability(ios, introduced = version)))
#define NOT_IN_EXTENSIONS __attribute__((availability(ios_app_extension, unavailable)))
