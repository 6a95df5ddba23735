//! `skala import`: a policy that does what a cloud's own scaler does. Asked of the cloud, or read from what its command
//! line prints. It changes nothing and its policy observes.

use super::check::CONFIG_DEFAULT;
use super::{Exit, Out, invalid, outfit, usage};
use crate::registry;
use anyhow::Context;
use clap::builder::PossibleValuesParser;
use contract::{GroupId, NativePolicy, Owner};
use skala::clock::{Clock, SystemClock};
use skala::config::{ProviderConfig, SkalaToml};
use skala::import::{self, Imported, Names};
use skala::telemetry::ProcessMetrics;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest document: a setting with thousands of rules fits.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// The source that a policy names when no skala.toml says another.
const SOURCE_DEFAULT: &str = "prometheus";

/// Write the policy that matches a cloud's own scaler, with a note on everything that differs
#[derive(Debug, clap::Args)]
#[command(after_help = "FILE is what the cloud's command line prints as JSON:\n  \
    aws autoscaling describe-auto-scaling-groups, describe-policies, describe-scheduled-actions; aws cloudwatch \
    describe-alarms\n  gcloud compute instance-groups managed describe GROUP --format json\n  \
    az monitor autoscale show\n  kubectl get hpa NAME -o json, kubectl get scaledobject NAME -o json")]
pub struct Import {
    /// Whose scaler
    #[arg(value_parser = PossibleValuesParser::new(registry::NATIVE))]
    cloud: String,
    /// The group, as a policy names it
    group: String,
    /// Read what the cloud's command line printed instead of asking the cloud; several files are read together, - is
    /// standard input
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The daemon's configuration, which has the provider [default: /etc/skala/skala.toml, unless --from is given]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The provider's name in the configuration [default: the only one of this cloud]
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The fleet's name [default: the group's]
    #[arg(long, value_name = "FLEET")]
    fleet: Option<String>,
    /// Write the policy to this file, which must not be there yet, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Import {
    /// Writes the policy; what differs goes to standard error too.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let default = self.from.is_empty().then(|| PathBuf::from(CONFIG_DEFAULT));
        let config = self.config.clone().or(default).map(|path| outfit::read_config(&path)).transpose()?;
        let provider = self.provider_of(config.as_ref())?;
        let native = match (&self.from[..], provider, &config) {
            ([], Some(provider), Some(config)) => self.ask(provider, config)?,
            (files, ..) => registry::native_policy(&self.cloud, &self.group, &documents(files)?)?,
        };
        let fleet = self.fleet.clone().unwrap_or_else(|| import::fleet_name(&self.group));
        let source = config.as_ref().and_then(|config| config.sources.first()).map(|source| &*source.name);
        let names = Names {
            fleet: &fleet,
            provider: provider.map_or(self.provider.as_deref().unwrap_or(&self.cloud), |provider| &provider.name),
            group: &self.group,
            source: source.unwrap_or(SOURCE_DEFAULT),
        };
        let imported = import::write(&native, &names).map_err(|refused| invalid(refused.to_string()))?;
        match &self.out {
            Some(path) => {
                let mut file =
                    std::fs::File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
                file.write_all(imported.text.as_bytes())?;
                file.sync_all()?;
            }
            None => out.write_all(imported.text.as_bytes())?,
        }
        tell(&imported)?;
        Ok(Exit::Ok)
    }

    /// The provider that the policy names; only asking the cloud needs one.
    fn provider_of<'a>(&self, config: Option<&'a SkalaToml>) -> anyhow::Result<Option<&'a ProviderConfig>> {
        let Some(config) = config else { return Ok(None) };
        let mut of_kind = config.providers.iter().filter(|provider| *provider.kind == *self.cloud);
        if let Some(name) = &self.provider {
            let found = of_kind.find(|provider| *provider.name == **name);
            return found.map(Some).ok_or_else(|| usage(format!("no provider `{name}` is of kind `{}`", self.cloud)));
        }
        match (of_kind.next(), of_kind.next()) {
            (Some(only), None) => Ok(Some(only)),
            (None, _) if !self.from.is_empty() => Ok(None),
            (None, _) => Err(usage(format!("no provider of the configuration is of kind `{}`", self.cloud))),
            (Some(_), Some(_)) => Err(usage(format!("several providers are of kind `{}`: say --provider", self.cloud))),
        }
    }

    fn ask(&self, provider: &ProviderConfig, config: &SkalaToml) -> anyhow::Result<NativePolicy> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            // It only reads, so whose claim it would be does not matter.
            let owner = Owner { id: config.daemon.id.clone().unwrap_or_default() };
            let metrics = Arc::new(ProcessMetrics::new());
            let connected = registry::connect(provider, &owner, &clock, &metrics).await?;
            let Some(native) = connected.native() else {
                return Err(usage(format!(
                    "the provider `{}` cannot read its cloud's own scaler: give --from FILE",
                    provider.name
                )));
            };
            let group = GroupId::from(self.group.as_str());
            native.describe(&group).await.with_context(|| format!("cannot read the scaler of {group}"))
        })
    }
}

fn documents(files: &[PathBuf]) -> anyhow::Result<Vec<serde_json::Value>> {
    files.iter().map(|path| document(path)).collect()
}

fn document(path: &Path) -> anyhow::Result<serde_json::Value> {
    let mut text = String::new();
    let read = |reader: &mut dyn Read, text: &mut String| reader.take(DOCUMENT_BYTES_MAX).read_to_string(text);
    let done = if path == Path::new("-") {
        read(&mut io::stdin().lock(), &mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file, &mut text))
    };
    done.map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| invalid(format!("{} is not JSON: {error}", path.display())))
}

fn tell(imported: &Imported) -> io::Result<()> {
    let mut err = io::stderr().lock();
    imported.left_out.iter().try_for_each(|text| writeln!(err, "not imported: {text}"))?;
    imported.probable.iter().try_for_each(|text| writeln!(err, "probable, check it: {text}"))?;
    imported.notes.iter().try_for_each(|text| writeln!(err, "note: {text}"))
}
