//! What a process takes.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Seconds of wall and CPU, and the peak of resident memory in bytes.
#[derive(Clone, Copy)]
pub struct Spent {
    pub wall: f64,
    pub cpu: f64,
    pub memory: u64,
}

impl Spent {
    /// The least of two runs of the same, since other programs only ever add to it; memory, the most.
    pub fn least(self, other: Spent) -> Spent {
        let memory = self.memory.max(other.memory);
        Spent { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu), memory }
    }

    /// One after the other.
    pub fn and(self, other: Spent) -> Spent {
        Spent { wall: self.wall + other.wall, cpu: self.cpu + other.cpu, memory: self.memory.max(other.memory) }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.2} {:8.2} {:7.0}", self.wall, self.cpu, self.memory as f64 / 1e6)
    }
}

/// Run a command to its end: what it took, and what it printed; or what it complained of.
pub fn spent(command: &mut Command) -> Result<(Spent, String), String> {
    let before = children_cpu();
    let started = Instant::now();
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let status = format!("/proc/{}/status", process.id());
    let peak = std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = std::fs::read_to_string(&status).ok().as_deref().and_then(high_water) {
            peak = now;
            std::thread::sleep(Duration::from_millis(10));
        }
        peak
    });
    let done = process.wait_with_output().map_err(|e| e.to_string())?;
    let wall = started.elapsed().as_secs_f64();
    let cpu = children_cpu() - before;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    let memory = peak.join().unwrap_or(0);
    Ok((Spent { wall, cpu, memory }, String::from_utf8_lossy(&done.stdout).into_owned()))
}

/// `VmHWM` of /proc/PID/status in bytes; `None` once the process has no memory.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// User and system seconds of all finished children, where /proc tells.
pub fn children_cpu() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / TICKS_PER_SECOND
}
