//! One run for all who ask at the same time: a document or a command has every fleet's number in it, so it is fetched or
//! run once for all of them, and never twice side by side. In: questions, each with a way to begin a run. Out: the run's
//! end, shared. A question that stops waiting stops nothing: the run goes on to its own deadline.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The questions of one cycle come within this of each other.
const CYCLE: Duration = Duration::from_millis(500);
/// What took longer than its cycle waited is still taken by the next one, unless it is as old as this.
const LATE: Duration = Duration::from_secs(300);

/// The newest run.
#[derive(Debug)]
pub(super) struct Round<T> {
    run: Mutex<Option<Run<T>>>,
}

#[derive(Debug)]
struct Run<T> {
    end: watch::Receiver<Option<Ended<T>>>,
    /// Somebody has been told how it ended.
    is_told: bool,
}

#[derive(Debug)]
struct Ended<T> {
    at: Instant,
    result: Arc<T>,
}

impl<T: Send + Sync + 'static> Round<T> {
    pub(super) fn new() -> Self {
        Self { run: Mutex::new(None) }
    }

    /// How the run that is under way ends, or one that ended just now, or while nobody was waiting; else a new one, made
    /// by `begin`, which must end by itself. `None`: it panicked.
    pub(super) async fn join<F>(&self, begin: impl FnOnce() -> F) -> Option<Arc<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut end = self.current(begin);
        let ended = end.wait_for(Option::is_some).await.ok()?;
        let result = ended.as_ref().map(|ended| Arc::clone(&ended.result));
        drop(ended);
        if let Some(run) = &mut *self.run.lock().unwrap_or_else(PoisonError::into_inner)
            && run.end.same_channel(&end)
        {
            run.is_told = true;
        }
        result
    }

    fn current<F>(&self, begin: impl FnOnce() -> F) -> watch::Receiver<Option<Ended<T>>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*run
            && known.is_current()
        {
            return known.end.clone();
        }
        let (tell, end) = watch::channel(None);
        let running = begin();
        tokio::spawn(async move {
            let result = Arc::new(running.await);
            // Whoever asked may be gone.
            let _ = tell.send(Some(Ended { at: Instant::now(), result }));
        });
        *run = Some(Run { end: end.clone(), is_told: false });
        end
    }
}

impl<T> Run<T> {
    fn is_current(&self) -> bool {
        match &*self.end.borrow() {
            Some(ended) => ended.at.elapsed() < if self.is_told { CYCLE } else { LATE },
            // Without a sender it panicked.
            None => self.end.has_changed().is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const SECOND: Duration = Duration::from_secs(1);

    /// Counts its runs, each of which takes so long.
    struct Slow(Arc<AtomicUsize>, Duration);

    impl Slow {
        fn run(&self) -> impl Future<Output = usize> + Send + 'static {
            let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            let takes = self.1;
            async move {
                tokio::time::sleep(takes).await;
                number
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_within_a_cycle_share_a_run() {
        let (round, slow) = (Round::new(), Slow(Arc::default(), SECOND));
        let ask = || async { *round.join(|| slow.run()).await.unwrap() };
        assert_eq!(futures_util::join!(ask(), ask(), ask()), (1, 1, 1));
        assert_eq!(ask().await, 1);
        tokio::time::sleep(SECOND).await;
        assert_eq!(ask().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_nobody_waited_for_answers_the_next() {
        let (round, slow) = (Round::new(), Slow(Arc::default(), 8 * SECOND));
        let ask = || async { *round.join(|| slow.run()).await.unwrap() };
        for _ in 0..2 {
            assert!(tokio::time::timeout(3 * SECOND, ask()).await.is_err());
        }
        assert_eq!(slow.0.load(Ordering::Relaxed), 1, "never two side by side");
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(ask().await, 1);
        tokio::time::sleep(SECOND).await;
        assert_eq!(ask().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_a_run_and_not_the_next() {
        let round = Round::<usize>::new();
        assert_eq!(round.join(|| async { std::panic::resume_unwind(Box::new("x")) }).await, None);
        assert_eq!(round.join(|| async { 5 }).await.as_deref(), Some(&5));
    }
}
