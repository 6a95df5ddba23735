//! Policy files of these tests: one fleet on one group, quick enough to be watched.

/// One fleet's policy; [`Policy::toml`] writes it.
#[derive(Clone)]
pub struct Policy {
    /// The fleet's name, and its group's.
    pub fleet: String,
    pub provider: &'static str,
    pub source: &'static str,
    pub mode: &'static str,
    pub min: u32,
    pub max: u32,
    pub warmup: &'static str,
    /// The total load.
    pub query: String,
    /// How many instances it covers.
    pub members: Option<String>,
    /// What one instance carries.
    pub target: f64,
    /// The scale-in window.
    pub window: &'static str,
    /// The rate of scale-in, as TOML.
    pub rate: &'static str,
    /// More lines of the fleet's own table.
    pub extra: &'static str,
    /// More tables.
    pub tables: String,
}

impl Policy {
    /// The usual one: requests a second as a gauge of each instance, a window of six seconds, one instance a second.
    pub fn new(fleet: &str) -> Self {
        Self {
            fleet: fleet.into(),
            provider: "aws",
            source: "prometheus",
            mode: "on",
            min: 1,
            max: 20,
            warmup: "3s",
            query: format!("sum(rps{{fleet=\"{fleet}\"}})"),
            members: Some(format!("count(rps{{fleet=\"{fleet}\"}})")),
            target: 100.0,
            window: "6s",
            rate: "[{ instances = 1, per = \"1s\" }]",
            extra: "",
            tables: String::new(),
        }
    }

    /// The window in seconds.
    pub fn window_secs(&self) -> f64 {
        self.window.trim_end_matches('s').parse().unwrap()
    }

    /// What the file says.
    pub fn toml(&self) -> String {
        let Self {
            fleet, provider, source, mode, min, max, warmup, query, target, window, rate, extra, tables, ..
        } = self;
        let members = self.members.as_ref().map(|query| format!("members = '{query}'\n")).unwrap_or_default();
        format!(
            "[fleet.{fleet}]\nmode = \"{mode}\"\nmin = {min}\nmax = {max}\nwarmup = \"{warmup}\"\nboot = \"5s\"\n{extra}\n\
             [[fleet.{fleet}.group]]\nprovider = \"{provider}\"\ngroup = \"{fleet}\"\n\
             [fleet.{fleet}.metric.rps]\nsource = \"{source}\"\nquery = '{query}'\nunit = \"count\"\n\
             max_age = \"5s\"\n{members}\
             [[fleet.{fleet}.rule]]\nname = \"requests\"\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = {target:?}\n\
             [fleet.{fleet}.scale_out]\nrate = [{{ instances = 20, per = \"1s\" }}]\n\
             [fleet.{fleet}.scale_in]\nstabilization = \"{window}\"\nrate = {rate}\n{tables}"
        )
    }
}
