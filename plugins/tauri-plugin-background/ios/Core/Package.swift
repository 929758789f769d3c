// swift-tools-version:5.9
// The part of the host that needs nothing of iOS, so that its promises are tested wherever Swift is: `swift test`.

import PackageDescription

let package = Package(
  name: "BackgroundCore",
  platforms: [.macOS(.v10_13), .iOS(.v13)],
  products: [.library(name: "BackgroundCore", targets: ["BackgroundCore"])],
  targets: [
    .target(
      name: "BackgroundCore",
      swiftSettings: [.enableExperimentalFeature("StrictConcurrency")]),
    .testTarget(name: "BackgroundCoreTests", dependencies: ["BackgroundCore"]),
  ]
)
