//! Why a request has no answer, and how the client's own errors become that.

use super::secret::SecretError;
use std::error::Error as StdError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No whole answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, a broken one, or a certificate that is not trusted.
    #[error("cannot be reached: {why}")]
    Unreachable {
        /// The innermost cause.
        why: String,
    },
    /// The address or name belongs to a metadata service, or is link-local.
    #[error("{target} is link-local or a cloud's metadata service, which is never asked")]
    Forbidden {
        /// The address or name.
        target: String,
    },
    /// The server points elsewhere; following could leak credentials.
    #[error("answered {status}, a redirect to {target}, which is not followed: configure the final URL")]
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        target: String,
    },
    /// Any other status than a success.
    #[error("answered with status {status}")]
    Refused {
        /// The status.
        status: u16,
        /// The beginning of the answer.
        body: String,
    },
    /// The answer is larger than the limit.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The answer is not UTF-8.
    #[error("the answer is not text")]
    NotText,
    /// A secret's file cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The settings can never work.
    #[error("{0}")]
    Settings(String),
}

/// What the guarded resolver refuses with; the client carries it inside its own error.
#[derive(Debug, thiserror::Error)]
#[error("{0} is never asked")]
pub(super) struct ForbiddenAddress(pub(super) String);

pub(super) fn settings_error(what: &str, error: &reqwest::Error) -> FetchError {
    FetchError::Settings(format!("{what}: {}", innermost(error)))
}

pub(super) fn transport_error(error: reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(ForbiddenAddress(target)) = current.downcast_ref() {
            return FetchError::Forbidden { target: target.clone() };
        }
        cause = current.source();
    }
    if error.is_timeout() { FetchError::Timeout } else { FetchError::Unreachable { why: innermost(&error) } }
}

/// The innermost cause: the outer ones only repeat that a request failed, some with the URL.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}
