//! What is worth choosing from: points of which no other is both cheaper and less short.

/// Shortage and cost, less of both is better; between equals the smaller number of changed settings decides.
pub(super) type Worth = (f64, f64, usize);

/// Whether one is at least as good in both, and better in one.
pub(super) fn beats(one: Worth, other: Worth) -> bool {
    one.0 <= other.0 && one.1 <= other.1 && (one.0 < other.0 || one.1 < other.1)
}

/// The places of those that no other beats, from least short to cheapest; of equals the first with fewest changes.
pub(super) fn front(all: &[Worth]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (all[*a], all[*b]);
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
    });
    let mut cheapest = f64::INFINITY;
    order.retain(|at| {
        let better = all[*at].1 < cheapest;
        cheapest = cheapest.min(all[*at].1);
        better
    });
    order
}

/// The numbers below `count`, so that any beginning of them is spread evenly: the ends, the middle, the quarters ...
pub(super) fn spread(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = [0, count.saturating_sub(1)].into_iter().filter(|at| *at < count).collect();
    let mut parts = 2;
    while order.len() < count {
        order.extend((1..parts).step_by(2).map(|part| part * count.saturating_sub(1) / parts));
        parts *= 2;
        // At the end of a round each number is there once, in the order of its first mention.
        let mut seen = vec![false; count];
        order.retain(|at| !std::mem::replace(&mut seen[*at], true));
    }
    order.dedup();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_beats_is_on_the_front() {
        let all = [(1.0, 5.0, 1), (0.0, 9.0, 1), (1.0, 5.0, 0), (2.0, 5.0, 1), (3.0, 1.0, 1), (0.5, 9.0, 1)];
        assert_eq!(front(&all), [1, 2, 4]);
        for at in 0..all.len() {
            let beaten = all.iter().any(|other| beats(*other, all[at]));
            assert_eq!(!beaten, [0, 1, 2, 4].contains(&at), "{at}");
        }
        assert_eq!(front(&[]), [0; 0]);
    }

    #[test]
    fn any_beginning_is_spread_evenly() {
        assert_eq!(spread(9), [0, 8, 4, 2, 6, 1, 3, 5, 7]);
        for count in 0..40 {
            let mut all = spread(count);
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
