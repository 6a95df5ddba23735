//! What benches share: how long a program was on the processor.

/// A process's CPU time in seconds, user and system, from the kernel's count of ticks; also of one that has ended, as long
/// as nobody has waited for it.
pub fn cpu_secs(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // USER_HZ is 100 on every Linux that Rust runs on.
    ticks / 100.0
}
