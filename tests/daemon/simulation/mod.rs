//! The whole daemon on simulated clouds, in virtual time: hours of load, seeded faults, crashes. What must hold is
//! judged by a witness that knows nothing of the engine. Every failure prints its seed.

mod chaos;
mod crash;
mod drains;
mod faults;
mod history;
mod kept;
mod load;
mod reload;
mod same;
mod watch;
mod world;

/// Runs a story under several seeds; a failure names its seed.
#[allow(clippy::print_stderr)] // The seed is what a person needs to see the failure again.
fn for_seeds(seeds: std::ops::Range<u64>, story: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds {
        if let Err(failed) = std::panic::catch_unwind(|| story(seed)) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(failed);
        }
    }
}
