//! Scaling activities: what became of operations of ours, and launches that failed. Purely data: a failed launch is never
//! an error of the observation.

use crate::api::Activity;
use crate::codes::{Meaning, meaning};
use crate::errors::{cut, scope};
use crate::time;
use contract::{FailureKind, LaunchFailure, Scope, Timestamp};

/// How many characters of the cloud's words are kept.
const MESSAGE_MAX: usize = 200;

/// Whether an activity is still under way; a word that is new says that it may be.
pub(super) fn is_open(activity: &Activity) -> bool {
    !matches!(activity.status_code.as_deref(), Some("Successful" | "Warning" | "Failed" | "Rejected"))
}

/// The launches among the activities that failed since a time, newest first.
pub(super) fn failures<'a>(activities: impl Iterator<Item = &'a Activity>, since: Timestamp) -> Vec<LaunchFailure> {
    let mut failures: Vec<LaunchFailure> = activities.flat_map(failure).filter(|failure| failure.at >= since).collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.at));
    failures
}

/// What one activity failed at: each of its errors once.
fn failure(activity: &Activity) -> Vec<LaunchFailure> {
    let rejected = match activity.status_code.as_deref() {
        Some("Failed" | "Warning") => false,
        Some("Rejected") => true,
        _ => return Vec::new(),
    };
    // `Add "2" ECS instance`; what removes, detaches or stops is another story.
    let what = activity.description.as_deref().unwrap_or_default().to_ascii_lowercase();
    if ["remove", "detach", "release", "delete", "stop", "recycle"].iter().any(|word| what.starts_with(word)) {
        return Vec::new();
    }
    let time = activity.end_time.as_deref().and_then(time::parse);
    let Some(at) = time.or_else(|| activity.start_time.as_deref().and_then(time::parse)) else { return Vec::new() };
    let mut told: Vec<(&str, &str)> = activity
        .error_messages
        .iter()
        .map(|each| {
            let words = each.message.as_deref().or(each.description.as_deref());
            (each.code.as_deref().unwrap_or_default(), words.unwrap_or_default())
        })
        .collect();
    if told.is_empty() {
        let words = activity.error_message.as_deref().or(activity.status_message.as_deref());
        told.push((activity.error_code.as_deref().unwrap_or_default(), words.unwrap_or_default()));
    }
    told.sort_unstable();
    told.dedup();
    let of = |(code, words): (&str, &str)| {
        let (kind, scope) = read(code, words);
        let message = cut(&format!("{code}: {words}"), MESSAGE_MAX);
        LaunchFailure { kind, scope, at, message }
    };
    // A rejected request started nothing: only what says that there is nothing to start with concerns launches.
    let counts = |failure: &LaunchFailure| !rejected || failure.kind != FailureKind::Other;
    told.into_iter().map(of).filter(counts).collect()
}

/// Kind and scope from an error's code and words. The words often are `CODE message` of another service.
fn read(code: &str, words: &str) -> (FailureKind, Scope) {
    let within = words.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'));
    let known = [code].into_iter().chain(within).find_map(|word| meaning(word).filter(|_| word.len() > 5));
    match known {
        Some(Meaning::OutOfCapacity) => (FailureKind::OutOfCapacity, scope(words)),
        Some(Meaning::Quota) => (FailureKind::QuotaExceeded, Scope::Region),
        Some(Meaning::Denied | Meaning::Expired) => (FailureKind::Denied, Scope::Group),
        Some(Meaning::Invalid) => (FailureKind::Invalid, Scope::Group),
        _ if code.ends_with(".NotFound") => (FailureKind::Invalid, Scope::Group),
        _ => (FailureKind::Other, Scope::Group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ErrorMessage;

    fn activity(status: &str, code: &str, words: &str) -> Activity {
        Activity {
            scaling_activity_id: Some("asa-1".into()),
            status_code: Some(status.into()),
            description: Some("Add \"2\" ECS instance".into()),
            end_time: Some("2023-11-14T22:13:20Z".into()),
            error_code: Some(code.into()),
            error_message: Some(words.into()),
            ..Activity::default()
        }
    }

    fn kinds(activity: Activity) -> Vec<(FailureKind, Scope)> {
        let found = failures([&activity].into_iter(), Timestamp(0));
        found.into_iter().map(|failure| (failure.kind, failure.scope)).collect()
    }

    #[test]
    fn a_failed_launch_is_typed_by_its_code_or_its_words() {
        let check = |code: &str, words: &str, kind: FailureKind, scope: Scope| {
            assert_eq!(kinds(activity("Failed", code, words)), [(kind, scope)], "{code} {words}");
        };
        use FailureKind as K;
        let zone = || Scope::Zone("cn-hangzhou-h".into());
        check("OperationDenied.NoStock", "sold out in zone cn-hangzhou-h", K::OutOfCapacity, zone());
        check("Zone.NotOnSale", "", K::OutOfCapacity, Scope::Group);
        check(
            "ECS.Error",
            "OperationDenied.NoStock The requested resource is sold out",
            K::OutOfCapacity,
            Scope::Group,
        );
        check("QuotaExceed.ElasticQuota", "", K::QuotaExceeded, Scope::Region);
        check("Forbidden.RAM", "", K::Denied, Scope::Group);
        check("InvalidParameter", "", K::Invalid, Scope::Group);
        check("InvalidImageId.NotFound", "", K::Invalid, Scope::Group);
        check("Something", "went wrong", K::Other, Scope::Group);
    }

    #[test]
    fn only_launches_that_failed_count() {
        assert_eq!(kinds(activity("Successful", "OperationDenied.NoStock", "")), []);
        assert_eq!(kinds(activity("InProgress", "OperationDenied.NoStock", "")), []);
        assert_eq!(kinds(activity("Rejected", "ScalingActivityInProgress", "")), []);
        assert_eq!(kinds(activity("Rejected", "QuotaExceed", "")).len(), 1);
        let removal = Activity { description: Some("Remove \"1\" ECS".into()), ..activity("Failed", "X", "") };
        assert_eq!(kinds(removal), []);
        let each = |code: &str| ErrorMessage { code: Some(code.into()), message: None, description: None };
        let partial = Activity {
            error_messages: vec![each("OperationDenied.NoStock"), each("QuotaExceed"), each("QuotaExceed")],
            ..activity("Warning", "", "")
        };
        assert_eq!(kinds(partial).len(), 2);
        let old = activity("Failed", "QuotaExceed", "");
        assert_eq!(failures([&old].into_iter(), Timestamp::from_secs(1_700_000_001)), vec![]);
    }

    #[test]
    fn an_activity_is_open_until_it_says_how_it_ended() {
        for (status, open) in [("InProgress", true), ("Brewing", true), ("Successful", false), ("Rejected", false)] {
            assert_eq!(is_open(&activity(status, "", "")), open, "{status}");
        }
        assert!(is_open(&Activity::default()));
    }
}
