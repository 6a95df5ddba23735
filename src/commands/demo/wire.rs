//! The demo's clouds behind HTTP: each simulated cloud in the API of a real one, and the provider of production in front of
//! it, as a skala.toml would make it.

use super::world::World;
use crate::commands::invalid;
use crate::registry;
use anyhow::Context;
use contract::Owner;
use policies::policy::SourceFile;
use sim_cloud::{CloudKind, Live};
use skala::app::Providers;
use skala::clock::Clock;
use skala::config::{Report, SkalaToml, diagnostics};
use skala::telemetry::ProcessMetrics;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

/// Clouds that are served, and who speaks to them.
pub struct Served {
    /// They end when this is dropped.
    pub clouds: Vec<Live>,
    /// By the clouds' names.
    pub providers: Providers,
}

/// Serves the world's clouds on loopback, with their troubles; secrets that guard nothing are put into `room`.
///
/// # Errors
/// When this skala was built without one of the clouds.
pub async fn serve(world: &World, room: &Path, metrics: &Arc<ProcessMetrics>) -> anyhow::Result<Served> {
    let (mut clouds, mut text) = (Vec::new(), String::new());
    for (name, kind) in world.plan.wire {
        let cloud = world.cloud(name).with_context(|| format!("no cloud {name}"))?.clone();
        let clock = Arc::clone(&world.clock);
        let timer: sim_cloud::Timer = Arc::new(move |span| clock.timer(span));
        let live = Live::start(*kind, cloud, (Ipv4Addr::LOCALHOST, 0).into(), timer).await?;
        let access = live.access(name);
        text.push_str(&access.toml);
        // Calls are counted by the wall clock, and simulated time is many times as dense.
        if *kind != CloudKind::Kubernetes {
            text.push_str("calls_per_second = 1000.0\n");
        }
        if let (CloudKind::Azure, Some((_, secret))) = (kind, access.variables.first()) {
            let file = room.join("secret");
            std::fs::write(&file, secret)?;
            text.push_str(&format!("client_secret_file = {:?}\n", file.display().to_string()));
        }
        let troubles = world.plan.troubles.iter().filter(|(cloud, _)| cloud == name);
        for (_, trouble) in troubles {
            live.play(&trouble.parse()?)?;
        }
        clouds.push(live);
    }
    let file = SourceFile { name: "demo/wire".into(), text };
    let (config, found) = SkalaToml::parse(&file, registry::KINDS, room, room);
    let config =
        config.ok_or_else(|| invalid(diagnostics::render(&Report { files: vec![file], diagnostics: found })))?;
    let clock: Arc<dyn Clock> = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let owner = Owner { id: "demo".into() };
    let mut providers = Providers::new();
    for provider in &config.providers {
        providers.insert((&*provider.name).into(), registry::connect(provider, &owner, &clock, metrics).await?);
    }
    Ok(Served { clouds, providers })
}
