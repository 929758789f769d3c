// swift-tools-version:5.9
// The Swift host of the plugin. `tauri-plugin`'s build script builds it on a Mac, through swift-rs, into one static library.
//
// The package, the product and the target must be named like the crate: swift-rs looks for `lib<crate>.a`, and with Xcode 27
// makes only those C functions visible to Rust that are in the module of that name. So every `@_cdecl` is in this target,
// and what needs no iOS is in the package `Core`, which builds and is tested on Linux as well.

import PackageDescription

let package = Package(
  name: "tauri-plugin-background",
  // Tauri's own: swift-rs builds with the app's deployment target, or with iOS 13 where it knows of none.
  platforms: [.macOS(.v10_13), .iOS(.v13)],
  products: [
    .library(name: "tauri-plugin-background", type: .static, targets: ["tauri-plugin-background"])
  ],
  dependencies: [
    // Put there by the build script of the crate.
    .package(name: "Tauri", path: "../.tauri/tauri-api"),
    .package(name: "BackgroundCore", path: "Core"),
  ],
  targets: [
    .target(
      name: "tauri-plugin-background",
      dependencies: [
        .product(name: "Tauri", package: "Tauri"),
        .product(name: "BackgroundCore", package: "BackgroundCore"),
      ],
      swiftSettings: [.enableExperimentalFeature("StrictConcurrency")],
      linkerSettings: [
        .linkedFramework("BackgroundTasks"), .linkedFramework("Network"), .linkedFramework("Security"),
        .linkedFramework("UserNotifications"),
      ])
  ]
)
