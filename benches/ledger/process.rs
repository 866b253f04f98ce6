//! What this process takes of the machine, from `/proc`.

use std::path::Path;
use std::time::Duration;

/// A clock tick of `/proc`: a hundredth of a second on every Linux there is.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of the thread with this name.
pub(crate) fn cpu_of(thread: &str) -> Duration {
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim() == thread {
            let stat = read("stat");
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
            let ticks: u32 = fields[12..14]
                .iter()
                .map(|n| n.parse::<u32>().unwrap())
                .sum();
            return TICK * ticks;
        }
    }
    panic!("no thread is named {thread}")
}

/// Resident memory, in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Bytes of a file, or of everything in a folder.
pub(crate) fn bytes(path: &Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(files) => files.flatten().map(|file| bytes(&file.path())).sum(),
        Err(_) => std::fs::metadata(path).map_or(0, |file| file.len()),
    }
}
