//! The only file that names concrete providers: kind to constructor, each behind its cargo feature.

use skala::config::Kinds;

/// The kinds of providers that skala.toml may name.
pub const KINDS: Kinds<'static> = Kinds {
    built: &[
        #[cfg(feature = "aws")]
        "aws",
        "sim",
    ],
    known: &["aws", "gcp", "azure", "openstack", "libvirt", "kubernetes", "sim"],
};
