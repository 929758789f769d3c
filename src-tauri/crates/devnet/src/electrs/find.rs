//! Which `electrs` to use: the one named by `ELECTRS_EXE`, else the one that `npm test` builds once. Not one on `PATH`: built with
//! its metrics, as it is by default, every one of them takes the same port.

use std::path::PathBuf;

use crate::Error;

pub(super) fn find() -> Result<PathBuf, Error> {
    if let Some(named) = std::env::var_os("ELECTRS_EXE").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        if path.is_file() {
            return Ok(path);
        }
        return Err(Error::NoElectrs(format!(
            "ELECTRS_EXE is {}: no such file",
            path.display()
        )));
    }
    built().filter(|path| path.is_file()).ok_or_else(|| {
        Error::NoElectrs(
            "ELECTRS_EXE names none, and none was built; `npm test` builds it once, and so does `cargo install --locked \
             --no-default-features --root ~/.cache/pilotlight/tools electrs@0.12.0`"
                .into(),
        )
    })
}

/// Where the scripts keep what they build.
fn built() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("pilotlight/tools/bin/electrs"))
}
