// The plugin object that Tauri wants. No task is registered here: `load` comes late, and once for each webview.

import Tauri
import UIKit
import WebKit

final class BackgroundPlugin: Plugin {
  @objc override func load(webview: WKWebView) {
    // Tauri calls this on the main thread. The page reaches below the notch and the home indicator, and leaves room for
    // them itself with `env(safe-area-inset-*)`; otherwise WebKit would add its own.
    // https://developer.apple.com/documentation/uikit/uiscrollview/contentinsetadjustmentbehavior-swift.property
    MainActor.assumeIsolated {
      webview.scrollView.contentInsetAdjustmentBehavior = .never
    }
  }
}
