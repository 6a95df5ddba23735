//! libvirt's error numbers to the contract's errors. In: one failed call, and whether it may have changed something. Out:
//! a [`Failure`]: the typed error, and what the rest of this crate needs to know of it.

pub(crate) use contract::Effect;
use contract::{FailureKind, LaunchFailure, ProviderError, Scope, Timestamp};
use virt::error::{Error, ErrorDomain, ErrorNumber};

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: ProviderError,
    /// libvirt's own number; none when libvirt was not asked or did not answer.
    pub number: Option<ErrorNumber>,
    /// Nothing was changed, for certain.
    pub harmless: bool,
    /// The connection is of no more use.
    pub lost: bool,
}

impl Failure {
    /// One that happened on this side; nothing was sent.
    pub fn ours(error: ProviderError) -> Self {
        Self { error, number: None, harmless: true, lost: false }
    }

    /// There was no (more) time to send it.
    pub fn no_time(operation: &str) -> Self {
        Self::ours(ProviderError::Transport {
            what: format!("{operation}: no time was left to send it").into(),
            source: None,
        })
    }

    /// Nobody knows what became of it.
    pub fn unanswered(effect: Effect, what: String) -> Self {
        let error = match effect {
            Effect::Read => ProviderError::Transport { what: what.into(), source: None },
            Effect::Write => ProviderError::Unclear { what: what.into(), source: None },
        };
        Self { error, number: None, harmless: effect == Effect::Read, lost: true }
    }

    /// What was asked for is not there.
    pub fn is_absence(&self) -> bool {
        use ErrorNumber as N;
        matches!(self.number, Some(N::NoDomain | N::NoDomainMetadata | N::NoStorageVolume | N::NoStoragePool))
    }

    /// This driver, or this domain as it is now, does not know the call or one of its flags.
    pub fn is_unsupported(&self) -> bool {
        use ErrorNumber as N;
        matches!(self.number, Some(N::ArgumentUnsupported | N::InvalidArg | N::OperationInvalid | N::NoSupport))
    }
}

/// Judges an error of libvirt at a host.
pub(crate) fn classify(host: &str, operation: &str, effect: Effect, error: Error) -> Failure {
    use ErrorNumber as N;
    let (number, words) = (error.code(), error.message().to_owned());
    let what = cut(&format!("{host}: {operation}: {words}"), 300);
    let settled = |error| Failure { error, number: Some(number), harmless: true, lost: false };
    match number {
        N::AuthFailed | N::AuthCancelled | N::AuthUnavailable | N::OperationDenied | N::AccessDenied => {
            settled(ProviderError::Denied { what })
        }
        N::NoDomain | N::NoDomainMetadata | N::NoStorageVolume | N::NoStoragePool | N::NoNetwork => {
            settled(ProviderError::NotFound { what })
        }
        _ if is_of_the_wire(&error) && is_shut_out(&words) => {
            Failure { lost: true, ..settled(ProviderError::Denied { what }) }
        }
        _ if is_of_the_wire(&error) => Failure {
            number: Some(number),
            // Before it could be sent: the socket had been closed, or was never opened.
            harmless: effect == Effect::Read || never_sent(&words),
            ..match effect {
                Effect::Write if !never_sent(&words) => Failure::unanswered(effect, what.into()),
                _ => Failure::unanswered(Effect::Read, what.into()),
            }
        },
        N::NoMemory => settled(ProviderError::OutOfCapacity { scope: Scope::Zone(host.into()) }),
        // A guest's memory or disk for which there is no room comes as the words of QEMU or of the system.
        _ if words.contains("Cannot allocate memory") || words.contains("No space left on device") => {
            settled(ProviderError::OutOfCapacity { scope: Scope::Zone(host.into()) })
        }
        N::XmlError | N::XmlDetail | N::XmlInvalidSchema | N::ConfigUnsupported | N::OsType | N::NoKernel | N::NoOs => {
            settled(ProviderError::Invalid { what })
        }
        N::InvalidArg | N::ArgumentUnsupported | N::NoSupport | N::OperationUnsupported | N::CpuIncompatible => {
            settled(ProviderError::Invalid { what })
        }
        // Somebody else's lock was not given up in time: libvirt answered, so nothing was done.
        N::OperationTimeout | N::ResourceBusy => settled(ProviderError::Throttled { retry_after: None }),
        // libvirt answered and said no; it puts things back as they were.
        _ => settled(ProviderError::Transport { what, source: None }),
    }
}

/// The client's side of libvirt speaks: the connection could not be made, or broke.
fn is_of_the_wire(error: &Error) -> bool {
    use ErrorNumber as N;
    let side = matches!(error.domain(), ErrorDomain::Rpc | ErrorDomain::Remote);
    side || matches!(error.code(), N::NoConnect | N::InvalidConn | N::Rpc | N::Ssh | N::Libssh | N::GnutlsError)
}

/// The words of ssh, or of the system at a socket, for whoever is not let in: libvirt passes them on as an error of the
/// wire. Before there is a connection nothing can have been sent.
fn is_shut_out(words: &str) -> bool {
    ["Permission denied", "Host key verification failed", "Too many authentication failures"]
        .iter()
        .any(|told| words.contains(told))
}

/// In the words of libvirt's client; anything else counts as sent, which is the careful side.
fn never_sent(words: &str) -> bool {
    words.starts_with("client socket is closed") || words.starts_with("Failed to connect socket")
}

/// A refused launch as data.
pub(crate) fn launch_failure(error: &ProviderError, host: &str, at: Timestamp) -> LaunchFailure {
    let kind = match error {
        ProviderError::OutOfCapacity { .. } => FailureKind::OutOfCapacity,
        ProviderError::Denied { .. } => FailureKind::Denied,
        ProviderError::Invalid { .. } => FailureKind::Invalid,
        _ => FailureKind::Other,
    };
    let scope = match error {
        ProviderError::OutOfCapacity { scope } => scope.clone(),
        _ => Scope::Zone(host.into()),
    };
    LaunchFailure { kind, scope, at, message: cut(&error.to_string(), 200) }
}

/// At most so many characters.
pub(crate) fn cut(text: &str, most: usize) -> Box<str> {
    text.chars().take(most).collect::<String>().into()
}
