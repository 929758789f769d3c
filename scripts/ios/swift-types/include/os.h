// https://developer.apple.com/documentation/os: logging is in overlay/os.swift.
#pragma once
#include "Darwin.h"
#include "Attributes.h"

// https://developer.apple.com/documentation/os/os_proc_available_memory
extern size_t os_proc_available_memory(void) IOS(13.0);
