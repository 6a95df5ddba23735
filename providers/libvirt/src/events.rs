//! libvirt's event loop, which its keepalive needs: without one a call to a host that lost its power never ends.
//!
//! The loop is the process's, and may be run by any number of threads: each provider has one, for as long as it has
//! hosts.

use contract::ProviderError;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use virt::error::Error;
use virt::event;

/// The loop waits no longer than this without an event, in milliseconds: so late it sees that it is to end.
const TURN: i32 = 1_000;

/// A thread that runs the loop, until this is dropped.
pub(crate) struct Events {
    over: Arc<AtomicBool>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

impl Events {
    /// Runs the loop. It has to be there before the first connection is.
    ///
    /// # Errors
    /// `Transport` when libvirt, or the machine, has no room for it.
    pub fn start() -> Result<Arc<Self>, ProviderError> {
        let cannot = |source: Box<dyn std::error::Error + Send + Sync>| ProviderError::Transport {
            what: "libvirt's event loop cannot be run".into(),
            source: Some(source),
        };
        // Said again it changes nothing.
        event::event_register_default_impl().map_err(|error| cannot(Box::new(error)))?;
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let body = move || {
            if let Err(error) = run(&seen) {
                tracing::error!(%error, "libvirt's event loop has ended: hosts that lose their power are noticed late");
            }
        };
        std::thread::Builder::new()
            .name("libvirt-events".into())
            .spawn(body)
            .map_err(|error| cannot(Box::new(error)))?;
        Ok(Arc::new(Self { over }))
    }
}

fn run(over: &AtomicBool) -> Result<(), Error> {
    let turn = event::event_add_timeout(TURN, |_, _| {}, null_mut())?;
    while !over.load(Ordering::Acquire) {
        event::event_run_default_impl()?;
    }
    turn.event_remove_timeout()
}
