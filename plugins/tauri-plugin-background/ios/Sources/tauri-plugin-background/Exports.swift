// Everything that Rust calls. Nothing is decided here: arguments are read, and one of the other files does the rest.
//
// Callable from any thread unless said otherwise. Texts are UTF-8; a result that is a text is freed with
// `tauri_background_free`. All `@_cdecl` stay in this target (see Package.swift).
//
// `autoreleasepool` wherever Objective-C has a part: Rust's threads have no pool of their own, so what Objective-C leaves
// behind, a secret among it, would stay until the thread ends.

import BackgroundCore
import Foundation
import Security
import Tauri

// MARK: Tasks

/// Main thread, before `UIApplicationMain`, once.
@_cdecl("tauri_background_install")
public func install(
  tasks: UnsafePointer<CChar>?, launched: @escaping LaunchedFunction, expired: @escaping ExpiredFunction,
  changed: @escaping ChangedFunction
) -> UnsafeMutablePointer<CChar>? {
  json(Host.shared.install(tasks: text(tasks), launched: launched, expired: expired, changed: changed))
}

@_cdecl("tauri_background_submit")
public func submit(
  id: UnsafePointer<CChar>?, kind: Int32, delay: Double, requiresNetwork: Bool, requiresPower: Bool
) -> Int32 {
  let registry = Host.shared.registry
  switch Request.check(id: text(id), kind: kind, delay: delay, now: Date(), registry: registry) {
  case .refused(let answer): return answer
  case .valid(let request):
    return autoreleasepool {
      Scheduler.submit(request, requiresNetwork: requiresNetwork, requiresPower: requiresPower)
    }
  }
}

@_cdecl("tauri_background_cancel")
public func cancel(id: UnsafePointer<CChar>?) {
  if let id = text(id) { autoreleasepool { Scheduler.cancel(id) } }
}

/// The second call with a token does nothing.
@_cdecl("tauri_background_complete")
public func complete(token: UInt64, success: Bool) {
  autoreleasepool { _ = Host.shared.launches?.complete(token, success: success) }
}

/// Not on the main thread: may wait for a second.
@_cdecl("tauri_background_pending")
public func pending() -> UnsafeMutablePointer<CChar>? {
  autoreleasepool { Scheduler.pending().flatMap { json($0) } }
}

/// From the foreground, at the person's wish.
@_cdecl("tauri_background_continue")
public func startContinued(
  id: UnsafePointer<CChar>?, title: UnsafePointer<CChar>?, subtitle: UnsafePointer<CChar>?
) -> Int32 {
  guard let id = text(id), let title = nonEmptyText(title), let subtitle = text(subtitle) else {
    return Answer.badArgument
  }
  return autoreleasepool {
    Scheduler.startContinued(id, title: title, subtitle: subtitle, registry: Host.shared.registry)
  }
}

@_cdecl("tauri_background_progress")
public func progress(token: UInt64, done: UInt64, total: UInt64) {
  autoreleasepool { Host.shared.launches?.report(token, done: done, of: total) }
}

@_cdecl("tauri_background_free")
public func freeText(_ text: UnsafeMutablePointer<CChar>?) {
  free(text)
}

// MARK: Device and app

@_cdecl("tauri_background_device")
public func device() -> UnsafeMutablePointer<CChar>? {
  autoreleasepool { json(Host.shared.device.facts()) }
}

/// 0: refused, as always before the app has finished launching.
@_cdecl("tauri_background_grace_begin")
public func beginGrace(name: UnsafePointer<CChar>?, expired: @escaping ExpiredFunction) -> UInt64 {
  autoreleasepool { Host.shared.grace.begin(text(name) ?? "", expired: expired) }
}

/// The second call with a token does nothing.
@_cdecl("tauri_background_grace_end")
public func endGrace(token: UInt64) {
  autoreleasepool { Host.shared.grace.end(token) }
}

/// 0, or the code of an `NSError`.
@_cdecl("tauri_background_protect")
public func protectFolder(_ folder: UnsafePointer<CChar>?) -> Int32 {
  guard let folder = nonEmptyText(folder) else { return Answer.badArgument }
  return autoreleasepool { protect(folder: folder) }
}

// MARK: Secrets. Each answers with an `OSStatus`.

/// `receive` is called once, before this returns, and only on success. The bytes are gone afterwards.
@_cdecl("tauri_background_secret_read")
public func readSecret(
  service: UnsafePointer<CChar>?, account: UnsafePointer<CChar>?,
  receive: @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<UInt8>, UInt) -> Void,
  context: UnsafeMutableRawPointer?
) -> Int32 {
  guard let item = Item(service, account) else { return errSecParam }
  return autoreleasepool {
    item.read { bytes in
      // Rust's slices have an address even if they are empty.
      var nothing: UInt8 = 0
      if let start = bytes.bindMemory(to: UInt8.self).baseAddress {
        receive(context, start, UInt(bytes.count))
      } else {
        receive(context, &nothing, 0)
      }
    }
  }
}

/// Never replaces an item: `errSecDuplicateItem`.
@_cdecl("tauri_background_secret_add")
public func addSecret(
  service: UnsafePointer<CChar>?, account: UnsafePointer<CChar>?, bytes: UnsafePointer<UInt8>?, count: UInt
) -> Int32 {
  guard let item = Item(service, account), let bytes, let count = Int(exactly: count) else { return errSecParam }
  return autoreleasepool { item.add(UnsafeRawBufferPointer(start: bytes, count: count)) }
}

@_cdecl("tauri_background_secret_remove")
public func removeSecret(service: UnsafePointer<CChar>?, account: UnsafePointer<CChar>?) -> Int32 {
  guard let item = Item(service, account) else { return errSecParam }
  return autoreleasepool { item.remove() }
}

// MARK: Notices

/// Arms a local notification in place of the one with the same identifier; a moment that is past is now. Not on the main
/// thread: may wait for a second. 0, 3 (the person does not allow notifications), 101 or -1.
@_cdecl("tauri_background_notify")
public func notify(
  id: UnsafePointer<CChar>?, title: UnsafePointer<CChar>?, body: UnsafePointer<CChar>?, unixSeconds: Double
) -> Int32 {
  guard let id = nonEmptyText(id), let title = text(title), let body = text(body),
    let delay = noticeDelay(at: unixSeconds, now: Date().timeIntervalSince1970)
  else { return Answer.badArgument }
  return autoreleasepool { Notices.arm(id, title: title, body: body, delay: delay) }
}

@_cdecl("tauri_background_notify_cancel")
public func cancelNotice(id: UnsafePointer<CChar>?) {
  if let id = text(id) { autoreleasepool { Notices.cancel(id) } }
}

/// Asks the person, once, whether notifications may come. Returns at once.
@_cdecl("tauri_background_notify_allow")
public func allowNotices() {
  autoreleasepool { Notices.askToAllow() }
}

// MARK: Tauri

@_cdecl("init_plugin_background")
public func initPlugin() -> Plugin {
  BackgroundPlugin()
}
