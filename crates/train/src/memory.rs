//! Memory shared out among the trials of a sweep that run side by side.

use losses::neighbours::MemoryLimit;

/// How many trainings run side by side, as a sweep tells its trials; absent: one.
pub const SIDE_BY_SIDE: &str = "LONGTAIL_SIDE_BY_SIDE";

/// This process's share of a limit: at least 1 MiB.
pub fn share(limit: MemoryLimit) -> MemoryLimit {
    let jobs = std::env::var(SIDE_BY_SIDE).ok().and_then(|n| n.parse::<usize>().ok()).unwrap_or(1);
    MemoryLimit { mebibytes: (limit.mebibytes / jobs.max(1)).max(1) }
}
