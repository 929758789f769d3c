// The app is in Rust: start_app is what #[tauri::mobile_entry_point] makes of `run` in src-tauri/src/lib.rs. It calls
// UIApplicationMain, so it returns only when the app ends; the background tasks are registered before that call.

#include "bindings/bindings.h"

int main(int argc, char * argv[]) {
	ffi::start_app();
	return 0;
}
