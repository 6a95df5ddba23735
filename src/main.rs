//! The binary `skala`: runs one command and sets the exit code. What it does lives in `commands` and in the library.

mod commands;
mod registry;

use commands::Exit;
use std::io::Write;
use std::process::ExitCode;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[allow(clippy::print_stderr)] // The last words of a command that failed; logs may not be set up.
fn main() -> ExitCode {
    // Two crates of the tree may each bring a TLS provider; the choice is made once, here. An error only means that it
    // was made before.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut out = commands::Out::stdout();
    let ended = commands::run(std::env::args_os(), &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match ended {
        Ok(exit) => exit.into(),
        // Whoever read our output had enough: `skala status | head` is no failure.
        Err(error) if commands::output_closed(&error) => Exit::Ok.into(),
        Err(error) => {
            drop(out.flush());
            eprintln!("error: {error:#}");
            commands::exit_of(&error).into()
        }
    }
}
