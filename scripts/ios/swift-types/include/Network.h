// https://developer.apple.com/documentation/network: in Swift all of it is overlay/Network.swift.
#pragma once
#include "Foundation.h"
