// Where the app keeps its data: readable while the device is locked, once it was unlocked; in no backup, because an old copy
// of it is worse than none.
// https://developer.apple.com/documentation/foundation/fileprotectiontype/completeuntilfirstuserauthentication
// https://developer.apple.com/documentation/foundation/urlresourcevalues/isexcludedfrombackup

import BackgroundCore
import Foundation

/// 0, or the code of the error. What is made in the folder later takes its protection over.
func protect(folder: String) -> Int32 {
  do {
    try FileManager.default.setAttributes(
      [.protectionKey: FileProtectionType.completeUntilFirstUserAuthentication], ofItemAtPath: folder)
    var url = URL(fileURLWithPath: folder, isDirectory: true)
    var values = URLResourceValues()
    values.isExcludedFromBackup = true
    try url.setResourceValues(values)
    return 0
  } catch {
    let code = Int32(exactly: (error as NSError).code) ?? Answer.otherError
    return code == 0 ? Answer.otherError : code
  }
}
