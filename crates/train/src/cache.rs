//! The folder of what can be computed again: below `LONGTAIL_CACHE`, or in the user's cache folder.

use std::path::PathBuf;

/// The folder; none on a machine without one.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("LONGTAIL_CACHE").map(PathBuf::from).or_else(|| {
        let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
        own.or_else(home).map(|f| f.join("longtail"))
    })
}
