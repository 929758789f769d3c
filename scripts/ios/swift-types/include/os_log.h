// `import os.log` names a part of the module; what it brings is in overlay/os.swift.
#pragma once
