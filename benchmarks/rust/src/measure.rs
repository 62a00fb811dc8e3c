//! Time, page faults and memory of this process.

use std::time::{Duration, Instant};

/// What one command measured.
pub struct Outcome {
    pub operations: usize,
    pub passed: Passed,
    /// Hexadecimal; what every side must agree on, or empty.
    pub check: String,
    pub figures: Vec<(&'static str, f64)>,
}

/// What a stopwatch saw.
pub struct Passed {
    wall: Duration,
    used: Usage,
}

#[derive(Clone, Copy)]
struct Usage {
    seconds: f64,
    minor: i64,
    major: i64,
}

/// Times what lies between `start` and `stop`.
pub struct Stopwatch {
    used: Usage,
    started: Instant,
}

impl Stopwatch {
    /// Give freed memory back, so that new memory is paid for every time; then start.
    pub fn start() -> Self {
        trim();
        Self { used: usage(), started: Instant::now() }
    }

    pub fn stop(self) -> Passed {
        let wall = self.started.elapsed();
        let now = usage();
        let used = Usage {
            seconds: now.seconds - self.used.seconds,
            minor: now.minor - self.used.minor,
            major: now.major - self.used.major,
        };
        Passed { wall, used }
    }
}

impl Outcome {
    pub fn new(operations: usize, passed: Passed, check: Option<[u8; 32]>) -> Self {
        let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let check = check.map_or(String::new(), hex);
        Self { operations, passed, check, figures: Vec::new() }
    }

    pub fn json(&self) -> String {
        let figures: Vec<String> =
            self.figures.iter().map(|(name, value)| format!("\"{name}\": {value:e}")).collect();
        format!(
            "{{\"operations\": {}, \"seconds\": {:e}, \"cpu_seconds\": {:e}, \
             \"minor_faults\": {}, \"major_faults\": {}, \"check\": \"{}\", \"figures\": {{{}}}}}",
            self.operations,
            self.passed.wall.as_secs_f64(),
            self.passed.used.seconds,
            self.passed.used.minor,
            self.passed.used.major,
            self.check,
            figures.join(", "),
        )
    }
}

fn usage() -> Usage {
    let mut raw = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the structure is plain numbers, and the call fills it in.
    let raw = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, raw.as_mut_ptr());
        raw.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Usage {
        seconds: seconds(raw.ru_utime) + seconds(raw.ru_stime),
        minor: raw.ru_minflt,
        major: raw.ru_majflt,
    }
}

/// Give freed memory back to the system, where the C library can.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointers.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Write what others left in the page cache, so that it does not fall into what is timed.
pub fn sync() {
    // SAFETY: it takes nothing.
    unsafe { libc::sync() }
}

/// The resident memory, in bytes, that no file stands behind.
pub fn anonymous_bytes() -> Result<usize, String> {
    trim();
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    Ok(kibibytes.ok_or("no RssAnon in /proc/self/status")? * 1024)
}

/// The value below which a part of the values lies.
pub fn quantile(sorted: &[u64], part: f64) -> f64 {
    let at = (part * sorted.len() as f64) as usize;
    sorted[at.min(sorted.len() - 1)] as f64 / 1e9
}
