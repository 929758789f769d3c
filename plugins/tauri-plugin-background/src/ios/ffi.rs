//! The C functions of the Swift host (`ios/`), and what Rust hands it: strings, numbers, function pointers.
//!
//! Owns every `unsafe` line of the plugin. Decides nothing. `npm run check:ios` holds this list of functions against
//! Swift's: the linker of Xcode would only find a missing name, never a wrong type.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::Change;
use crate::config::{Config, TaskKind};
use crate::device::DeviceFacts;
use crate::lock::lock;
use crate::models::{LaunchReason, PendingRequest};
use crate::scheduler::{LaunchSink, Request};

type LaunchedFn = extern "C" fn(token: u64, id: *const c_char, kind: i32);
type ExpiredFn = extern "C" fn(token: u64);
type ChangedFn = extern "C" fn(event: i32);
type SecretFn = extern "C" fn(context: *mut c_void, bytes: *const u8, len: usize);

unsafe extern "C" {
    fn tauri_background_install(
        tasks_json: *const c_char,
        launched: LaunchedFn,
        expired: ExpiredFn,
        changed: ChangedFn,
    ) -> *mut c_char;
    fn tauri_background_submit(
        id: *const c_char,
        kind: i32,
        delay_secs: f64,
        requires_network: bool,
        requires_power: bool,
    ) -> i32;
    fn tauri_background_cancel(id: *const c_char);
    fn tauri_background_complete(token: u64, success: bool);
    fn tauri_background_pending() -> *mut c_char;
    fn tauri_background_device() -> *mut c_char;
    fn tauri_background_free(text: *mut c_char);
    fn tauri_background_continue(id: *const c_char, title: *const c_char, subtitle: *const c_char) -> i32;
    fn tauri_background_progress(token: u64, done: u64, total: u64);
    fn tauri_background_grace_begin(name: *const c_char, expired: ExpiredFn) -> u64;
    fn tauri_background_grace_end(token: u64);
    fn tauri_background_secret_read(
        service: *const c_char,
        account: *const c_char,
        receive: SecretFn,
        context: *mut c_void,
    ) -> i32;
    fn tauri_background_secret_add(
        service: *const c_char,
        account: *const c_char,
        bytes: *const u8,
        len: usize,
    ) -> i32;
    fn tauri_background_secret_remove(service: *const c_char, account: *const c_char) -> i32;
    fn tauri_background_protect(folder: *const c_char) -> i32;
    fn tauri_background_notify(
        id: *const c_char,
        title: *const c_char,
        body: *const c_char,
        unix_secs: f64,
    ) -> i32;
    fn tauri_background_notify_cancel(id: *const c_char);
    fn tauri_background_notify_allow();
}

// Tauri calls it, with a name of its own choosing for the plugin object.
tauri::ios_plugin_binding!(init_plugin_background);

/// Answers of `submit` and `continue` beside `BGTaskScheduler.Error`'s own codes 1 to 4.
pub(crate) mod answer {
    pub(crate) const TAKEN: i32 = 0;
    pub(crate) const UNAVAILABLE: i32 = 1;
    pub(crate) const TOO_MANY_PENDING: i32 = 2;
    pub(crate) const NOT_PERMITTED: i32 = 3;
    pub(crate) const IMMEDIATE_RUN_INELIGIBLE: i32 = 4;
    pub(crate) const NOT_REGISTERED: i32 = 100;
    pub(crate) const NEEDS_NEWER_IOS: i32 = 102;
}

/// What the host answers to the registration of all tasks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Installed {
    /// The tasks that iOS took.
    pub(crate) registered: Vec<String>,
    /// The others, each with the reason's name.
    pub(crate) refused: BTreeMap<String, String>,
    /// `BGTaskSchedulerPermittedIdentifiers` of the app's Info.plist.
    pub(crate) permitted: Vec<String>,
}

/// Who hears of launches. C functions carry no context, and there is one host in a process.
static SINK: OnceLock<Arc<dyn LaunchSink>> = OnceLock::new();

/// What the host answered when it was installed.
static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// What the holders of background time wait for.
static GRACES: Mutex<BTreeMap<u64, CancellationToken>> = Mutex::new(BTreeMap::new());

/// Makes the Tauri plugin object, which sets up webviews.
pub(crate) const PLUGIN: unsafe fn() -> *const c_void = init_plugin_background;

/// The Swift host of this process.
pub(crate) struct Host;

impl Host {
    /// Hands over the callbacks and registers the tasks, once per process and before `UIApplicationMain`. Later calls do
    /// nothing and answer as the first did.
    pub(crate) fn install(config: &Config, sink: Arc<dyn LaunchSink>) -> &'static Installed {
        INSTALLED.get_or_init(|| {
            // Before the tasks are registered, so that no launch finds nobody home.
            let _first = SINK.set(sink);
            let tasks: Vec<_> = config
                .tasks
                .iter()
                .map(|task| serde_json::json!({ "id": task.id, "kind": kind_name(task.kind) }))
                .collect();
            let json = c_string(&serde_json::Value::from(tasks).to_string());
            // SAFETY: the string lives through the call; the callbacks are functions, which live forever.
            let answer = unsafe { tauri_background_install(json.as_ptr(), launched, expired, changed) };
            take_json(answer).unwrap_or_default()
        })
    }

    /// The identifiers that the Info.plist permits; none before the host is installed.
    pub(crate) fn permitted() -> Vec<String> {
        INSTALLED
            .get()
            .map(|installed| installed.permitted.clone())
            .unwrap_or_default()
    }

    pub(crate) fn submit(request: &Request) -> i32 {
        let id = c_string(&request.id);
        // SAFETY: the string lives through the call.
        unsafe {
            tauri_background_submit(
                id.as_ptr(),
                kind_number(request.kind),
                request.delay.as_secs_f64(),
                request.requires_network,
                request.requires_power,
            )
        }
    }

    pub(crate) fn cancel(id: &str) {
        let id = c_string(id);
        // SAFETY: the string lives through the call.
        unsafe { tauri_background_cancel(id.as_ptr()) };
    }

    pub(crate) fn complete(token: u64, success: bool) {
        // SAFETY: no pointers; an unknown token is ignored.
        unsafe { tauri_background_complete(token, success) };
    }

    /// `None`: the system did not answer within a second.
    pub(crate) fn pending() -> Option<Vec<PendingRequest>> {
        // SAFETY: no arguments; the answer is ours.
        take_json(unsafe { tauri_background_pending() })
    }

    pub(crate) fn device() -> DeviceFacts {
        // SAFETY: no arguments; the answer is ours.
        take_json(unsafe { tauri_background_device() }).unwrap_or_default()
    }

    pub(crate) fn start_continued(id: &str, title: &str, subtitle: &str) -> i32 {
        let (id, title, subtitle) = (c_string(id), c_string(title), c_string(subtitle));
        // SAFETY: the strings live through the call.
        unsafe { tauri_background_continue(id.as_ptr(), title.as_ptr(), subtitle.as_ptr()) }
    }

    pub(crate) fn progress(token: u64, done: u64, total: u64) {
        // SAFETY: no pointers; an unknown token is ignored.
        unsafe { tauri_background_progress(token, done, total) };
    }

    pub(crate) fn protect(folder: &Path) -> Result<(), i32> {
        // Paths on iOS are UTF-8; one that is not names no folder of ours.
        let path = c_string(&folder.to_string_lossy());
        // SAFETY: the string lives through the call.
        match unsafe { tauri_background_protect(path.as_ptr()) } {
            0 => Ok(()),
            code => Err(code),
        }
    }

    pub(crate) fn notify(id: &str, title: &str, body: &str, unix_secs: f64) -> i32 {
        let (id, title, body) = (c_string(id), c_string(title), c_string(body));
        // SAFETY: the strings live through the call.
        unsafe { tauri_background_notify(id.as_ptr(), title.as_ptr(), body.as_ptr(), unix_secs) }
    }

    pub(crate) fn notify_cancel(id: &str) {
        let id = c_string(id);
        // SAFETY: the string lives through the call.
        unsafe { tauri_background_notify_cancel(id.as_ptr()) };
    }

    pub(crate) fn notify_allow() {
        // SAFETY: no arguments.
        unsafe { tauri_background_notify_allow() };
    }

    pub(crate) fn grace_begin(name: &str, expires: &CancellationToken) -> Option<u64> {
        let name = c_string(name);
        // Held over the call: the expiry may come before we know the token, and then waits for it here.
        let mut graces = lock(&GRACES);
        // SAFETY: the string lives through the call; the callback lives forever.
        let token = unsafe { tauri_background_grace_begin(name.as_ptr(), grace_expired) };
        if token == 0 {
            return None;
        }
        graces.insert(token, expires.clone());
        Some(token)
    }

    pub(crate) fn grace_end(token: u64) {
        lock(&GRACES).remove(&token);
        // SAFETY: no pointers; an unknown token is ignored.
        unsafe { tauri_background_grace_end(token) };
    }

    /// The `OSStatus`, and the secret where it is 0.
    pub(crate) fn secret_read(service: &str, account: &str) -> (i32, Vec<u8>) {
        let (service, account) = (c_string(service), c_string(account));
        let mut secret: Vec<u8> = Vec::new();
        let context = (&raw mut secret).cast::<c_void>();
        // SAFETY: the strings live through the call; `receive_secret` is called within it at most once, with `context`.
        let status = unsafe {
            tauri_background_secret_read(service.as_ptr(), account.as_ptr(), receive_secret, context)
        };
        (status, secret)
    }

    /// The `OSStatus`.
    pub(crate) fn secret_add(service: &str, account: &str, secret: &[u8]) -> i32 {
        let (service, account) = (c_string(service), c_string(account));
        // SAFETY: strings and bytes live through the call.
        unsafe {
            tauri_background_secret_add(service.as_ptr(), account.as_ptr(), secret.as_ptr(), secret.len())
        }
    }

    /// The `OSStatus`.
    pub(crate) fn secret_remove(service: &str, account: &str) -> i32 {
        let (service, account) = (c_string(service), c_string(account));
        // SAFETY: the strings live through the call.
        unsafe { tauri_background_secret_remove(service.as_ptr(), account.as_ptr()) }
    }
}

extern "C" fn launched(token: u64, id: *const c_char, _kind: i32) {
    guard(|| {
        // SAFETY: the host passes a C string that lives through the call.
        let id = unsafe { CStr::from_ptr(id) }.to_string_lossy();
        match SINK.get() {
            Some(sink) => sink.launched(token, &id, LaunchReason::System),
            // Set before the tasks are registered, so this cannot happen; a task left open would cost the app its life.
            None => Host::complete(token, false),
        }
    });
}

extern "C" fn expired(token: u64) {
    guard(|| {
        if let Some(sink) = SINK.get() {
            sink.expired(token);
        }
    });
}

extern "C" fn changed(event: i32) {
    guard(|| {
        let Some(change) = Change::from_raw(event) else {
            return;
        };
        if let Some(sink) = SINK.get() {
            match change {
                Change::Unlocked => sink.unlocked(),
                // Background App Refresh may be on again: what was refused is asked for once more.
                Change::Foreground | Change::Device => sink.changed(),
                Change::Background | Change::MemoryWarning => {}
            }
        }
        super::changed(change);
    });
}

extern "C" fn grace_expired(token: u64) {
    guard(|| {
        let grace = lock(&GRACES).get(&token).cloned();
        grace.inspect(CancellationToken::cancel);
    });
}

extern "C" fn receive_secret(context: *mut c_void, bytes: *const u8, len: usize) {
    guard(|| {
        // SAFETY: `context` is the vector of `secret_read`, which waits for us; `bytes` are `len` bytes of the host's that
        // live through the call.
        let (secret, bytes) = unsafe {
            (
                &mut *context.cast::<Vec<u8>>(),
                std::slice::from_raw_parts(bytes, len),
            )
        };
        secret.extend_from_slice(bytes);
    });
}

/// A panic must not unwind into Swift: it would end the app without a word.
fn guard(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!("a callback of the iOS host panicked");
    }
}

/// What stands behind a NUL byte is cut off: such a string comes from no one but an attacker, and must not be a panic.
fn c_string(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    CString::new(text).unwrap_or_default()
}

/// Takes a JSON answer of the host's over. `None` for a null pointer or JSON of another shape.
fn take_json<T: DeserializeOwned>(text: *mut c_char) -> Option<T> {
    if text.is_null() {
        return None;
    }
    // SAFETY: a C string of the host's that is ours until it is given back on the next line.
    let json = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    unsafe { tauri_background_free(text) };
    serde_json::from_str(&json)
        .inspect_err(|error| tracing::error!(%error, "the iOS host answered in a shape we do not know"))
        .ok()
}

fn kind_name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Refresh => "refresh",
        TaskKind::Processing => "processing",
        TaskKind::Continued => "continued",
    }
}

fn kind_number(kind: TaskKind) -> i32 {
    match kind {
        TaskKind::Refresh => 0,
        TaskKind::Processing => 1,
        TaskKind::Continued => 2,
    }
}
