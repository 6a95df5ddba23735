use super::*;
use crate::store::conformance::{self, entry, hold_lease, options, record, row, secs};

struct InMemory(std::sync::OnceLock<MemoryStore>);

impl conformance::Place for InMemory {
    fn open(&self, options: Options) -> Box<dyn Store> {
        Box::new(self.0.get_or_init(|| MemoryStore::new(options)).reopen())
    }
}

#[tokio::test]
async fn it_keeps_what_every_store_promises() {
    conformance::run(|| InMemory(std::sync::OnceLock::new())).await;
}

#[tokio::test]
async fn equal_runs_leave_equal_bytes() {
    let run = async |at: i64| {
        let store = MemoryStore::new(options());
        hold_lease(&store).await;
        store.checkpoint(vec![], vec![entry("b", 1, "hold"), entry("a", 1, "hold")], vec![]).await.expect("saves");
        store.record(vec![record("a", 2, vec![row(1, "a", 1, 2)])]).await.expect("records");
        store.outcomes(vec![(ActionId(1), Outcome::Accepted, "accepted".into(), secs(at))]).await.expect("ends");
        store.dump()
    };
    let (first, second, other) = (run(3).await, run(3).await, run(4).await);
    assert_eq!(first, second);
    assert_ne!(first, other, "what differs is seen");
    let text = String::from_utf8(first).expect("text");
    assert_eq!(text.lines().count(), 4, "{text}");
    let numbers: Vec<_> = text.lines().map(|line| line.split(' ').next().expect("a number")).collect();
    assert_eq!(numbers, ["1", "2", "3", "4"], "in the order in which it came");
}

#[tokio::test(start_paused = true)]
async fn faults_are_what_the_trait_says() {
    let store = MemoryStore::new(options());
    hold_lease(&store).await;
    store.set_fault(Fault::Full);
    let removal = store.record(vec![record("a", 1, vec![row(1, "a", -1, 1)])]).await.expect_err("removes");
    assert!(matches!(removal, StoreError::Full(_)));
    store.record(vec![record("a", 1, vec![row(1, "a", 1, 1)])]).await.expect("adding goes on");
    assert!(matches!(store.keep_learned(vec![("a".into(), vec![1])]).await, Err(StoreError::Full(_))));
    assert!(store.tend(secs(0)).await.expect("tends").full);
    store.set_fault(Fault::FullToTheBrim);
    assert!(matches!(store.record(vec![record("a", 1, vec![])]).await, Err(StoreError::Full(_))));
    assert!(store.load().await.is_ok(), "reading goes on");
    store.set_fault(Fault::Corrupt);
    assert!(matches!(store.load().await, Err(StoreError::Corrupt(_))));
    store.set_fault(Fault::Slow(Duration::from_secs(7)));
    let before = tokio::time::Instant::now();
    store.spent(secs(0)).await.expect("answers late");
    assert_eq!(before.elapsed(), Duration::from_secs(7));
    store.set_fault(Fault::None);
    assert!(!store.tend(secs(0)).await.expect("tends").full);
}
