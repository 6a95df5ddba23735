//! Following what a write began, also over a restart: by the name that the API gave it.

use crate::Gcp;
use crate::errors::Failure;
use crate::names::{GroupName, Place};
use crate::shape::Failed;
use contract::{ProviderError, Timestamp};
use google_cloud_compute_v1::model::Operation;
use google_cloud_compute_v1::model::operation::Status;
use tokio::time::Instant;

impl Gcp {
    /// Whether an operation goes on. One that failed leaves its errors behind as failed launches: its write was taken,
    /// so they are data. An operation that the API has forgotten has ended; one that cannot be asked for goes on, as far
    /// as anybody knows. One that may not be asked for is left: it would be asked for at every look, and never
    /// answer.
    pub(crate) async fn is_under_way(&self, group: &GroupName, name: &str, at: Timestamp, deadline: Instant) -> bool {
        let failed = match self.calls.operation(&group.place, name, deadline).await {
            Ok(operation) => {
                self.memory.with(|all| all.unfollowed.remove(permission(&group.place)));
                if operation.status != Some(Status::Done) {
                    return true;
                }
                errors(&operation)
            }
            Err(failure) if matches!(failure.error, ProviderError::NotFound { .. }) => Vec::new(),
            Err(Failure { error: error @ (ProviderError::Denied { .. } | ProviderError::Invalid { .. }), .. }) => {
                let permission = permission(&group.place);
                if self.memory.with(|all| all.unfollowed.insert(permission)) {
                    let words = "operations cannot be followed: one that fails will show only as missing capacity; \
                                 grant the permission, or correct what the error says";
                    tracing::warn!(%group, operation = name, permission, %error, "{words}");
                }
                Vec::new()
            }
            Err(failure) => {
                tracing::debug!(%group, operation = name, error = %failure.error, "cannot follow an operation");
                return true;
            }
        };
        for failure in &failed {
            tracing::info!(%group, operation = name, message = %failure.message, "an operation of ours has failed");
        }
        self.memory.group(group, |group| {
            group.ended.insert(name.into());
            group.failures.extend(failed.into_iter().map(|failure| (failure, at)));
        });
        false
    }
}

/// What reading an operation there needs, as IAM spells it.
fn permission(place: &Place) -> &'static str {
    match place {
        Place::Zone(_) => "compute.zoneOperations.get",
        Place::Region(_) => "compute.regionOperations.get",
    }
}

/// What an operation that has ended says went wrong.
pub(crate) fn errors(operation: &Operation) -> Vec<Failed> {
    let zone = match Place::find_in(operation.zone.as_deref().unwrap_or_default()) {
        Some(Place::Zone(zone)) => Some(zone),
        _ => None,
    };
    let all = operation.error.as_ref().map(|error| error.errors.as_slice()).unwrap_or_default();
    let mut failed: Vec<Failed> = all
        .iter()
        .map(|error| {
            let code = error.code.as_deref().unwrap_or("UNKNOWN");
            Failed::new(code, zone.as_deref(), error.message.as_deref().unwrap_or_default())
        })
        .collect();
    let status = operation.http_error_status_code.filter(|status| *status >= 400);
    if let (true, Some(status)) = (failed.is_empty(), status) {
        let words = operation.http_error_message.as_deref().unwrap_or_default();
        failed.push(Failed::new(&format!("HTTP_{status}"), zone.as_deref(), words));
    }
    failed
}
