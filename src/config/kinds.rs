//! The kinds of providers and of their metrics: the library names no cloud, so whoever has them says.

/// The kinds that skala.toml may name.
#[derive(Clone, Copy, Debug)]
pub struct Kinds<'a> {
    /// The providers that this binary can use.
    pub built: &'a [&'a str],
    /// Those that are known and not in this binary.
    pub known: &'a [&'a str],
    /// The sources of readings that are a provider's own metrics, and that this binary can use.
    pub metrics: &'a [MetricsKind],
    /// Those that are known and not in this binary.
    pub known_metrics: &'a [&'a str],
}

/// A kind of source that is a provider's own metrics.
#[derive(Clone, Copy, Debug)]
pub struct MetricsKind {
    /// What `[source.NAME]` calls it.
    pub kind: &'static str,
    /// The kind of provider that has them.
    pub provider: &'static str,
    /// What its queries are called.
    pub language: &'static str,
    /// Whether a text is such a query; else what is wrong with it. Asks nobody.
    pub check: fn(&str) -> Result<(), String>,
}
