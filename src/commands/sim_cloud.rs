//! `skala sim-cloud`: simulated clouds over HTTP, for whoever wants to see skala, or a tool of their own, in front of a
//! cloud that fails on demand. In: which clouds, groups and faults. Out: on standard output what a skala.toml needs to reach
//! them, and then servers until a signal ends them. It knows no accounts: whoever reaches it may do everything.

mod control;
mod given;

use super::{Exit, Out, duration, usage};
use anyhow::Context;
use control::Clouds;
use given::{At, Group};
use sim::{Boot, Cloud, GroupSettings, Settings, Span};
use sim_cloud::{CloudKind, Live, Spec};
use skala::clock::{Clock, SystemClock};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Its groups when nothing is said.
const GROUP_DEFAULT: &str = "web=3";
/// The first address when nothing is said; skala's own is 9464.
const LISTEN_DEFAULT: &str = "127.0.0.1:9470";

/// Serve simulated clouds over HTTP, to try skala or other tools against clouds that fail on demand
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!(
    "The clouds' machines boot, fail and go in real time; nothing is kept over a restart. Standard output gets the\n\
     [provider.*] tables and the credentials to use.\n\nWhile it runs, its control address takes:\n  \
     GET /                  everything: groups, faults, calls; GET /CLOUD for one\n  \
     POST /CLOUD/faults     a fault as below: curl -d 'out-of-capacity,zone=a,for=5m' http://127.0.0.1:9471/aws/faults\n  \
     DELETE /CLOUD/faults   ends all of them\n\n{}", Spec::WORDS))]
pub struct SimCloud {
    /// Which clouds: alibaba, aws, azure, gcp, kubernetes, openstack; one given twice is there twice
    #[arg(required = true, value_name = "CLOUD")]
    clouds: Vec<CloudKind>,
    /// Where the first cloud listens; the others have the ports after it. Port 0: any free ports
    #[arg(long, value_name = "ADDR", default_value = LISTEN_DEFAULT)]
    listen: SocketAddr,
    /// Where faults are asked for while it runs [default: the port after the last cloud]
    #[arg(long, value_name = "ADDR")]
    control: Option<SocketAddr>,
    /// A group, full and running at the start: NAME=INSTANCES[:MIN..MAX][@CLOUD]. At openstack, and at aws for `ec2:TAG`,
    /// it is servers by tag; at kubernetes NAME may be NAMESPACE/NAME; at gcp a name that ends in an even digit is a
    /// region's [default: web=3]
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<At<Group>>,
    /// How long a machine takes from its launch until it runs
    #[arg(long, value_name = "D", default_value = "30s", value_parser = duration)]
    boot: Duration,
    /// Most machines of each cloud
    #[arg(long, value_name = "N")]
    quota: Option<u32>,
    /// Where the machines' chance comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A fault from the start: FAULT[@CLOUD], see below
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<At<Spec>>,
    /// Listen where other machines can reach it, too: there is no authentication
    #[arg(long)]
    expose: bool,
}

impl SimCloud {
    /// Serves until SIGINT or SIGTERM.
    pub fn run(mut self, out: &mut Out) -> anyhow::Result<Exit> {
        if self.groups.is_empty() {
            self.groups.push(GROUP_DEFAULT.parse().map_err(usage)?);
        }
        self.check()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(self.serve(out))
    }

    fn check(&self) -> anyhow::Result<()> {
        for (flag, at) in [("--listen", Some(self.listen)), ("--control", self.control)] {
            if let Some(at) = at.filter(|at| !at.ip().is_loopback() && !self.expose) {
                return Err(usage(format!(
                    "{flag} {at} is not a loopback address, and whoever reaches it may do everything; --expose allows it"
                )));
            }
        }
        let groups = self.groups.iter().filter_map(|group| group.cloud.as_deref());
        let mut named = groups.chain(self.faults.iter().filter_map(|fault| fault.cloud.as_deref()));
        let names = self.names();
        match named.find(|cloud| !names.iter().any(|name| name == cloud)) {
            Some(unknown) => Err(usage(format!("@{unknown}: none of the clouds here, which are {}", names.join(", ")))),
            None => Ok(()),
        }
    }

    /// The clouds' names: their kinds', and numbered from the second one on.
    fn names(&self) -> Vec<String> {
        let nth = |at: usize| self.clouds[..=at].iter().filter(|kind| **kind == self.clouds[at]).count();
        let name = |(at, kind): (usize, &CloudKind)| match nth(at) {
            1 => kind.to_string(),
            nth => format!("{kind}-{nth}"),
        };
        self.clouds.iter().enumerate().map(name).collect()
    }

    async fn serve(self, out: &mut Out) -> anyhow::Result<Exit> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut clouds = Clouds::new();
        for (at, (name, kind)) in self.names().into_iter().zip(&self.clouds).enumerate() {
            let cloud = self.machines(&name, *kind)?;
            let listen = self.listen_at(at)?;
            let live = Live::start(*kind, cloud, listen, Arc::new(|span| span)).await;
            clouds.push((name, live.with_context(|| format!("cannot listen on {listen}"))?));
        }
        for At { value: spec, cloud } in &self.faults {
            for (name, live) in clouds.iter().filter(|(name, _)| cloud.as_ref().is_none_or(|cloud| cloud == name)) {
                live.play(spec).map_err(|wrong| usage(format!("--fault {}: {name}: {wrong}", spec.text)))?;
            }
        }
        let control = self.control.map_or_else(|| self.listen_at(self.clouds.len()), Ok)?;
        let listener = TcpListener::bind(control).await.with_context(|| format!("cannot listen on {control}"))?;
        let clouds = Arc::new(clouds);
        greet(&clouds, listener.local_addr()?, out)?;
        let serving = axum::serve(listener, control::router(Arc::clone(&clouds))).into_future();
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            ended = serving => ended.context("the control address ended")?,
        }
        Ok(Exit::Ok)
    }

    /// The address of the cloud with this index, and after the last one that of the control.
    fn listen_at(&self, index: usize) -> anyhow::Result<SocketAddr> {
        let mut listen = self.listen;
        if listen.port() != 0 {
            let port = u16::try_from(index).ok().and_then(|index| listen.port().checked_add(index));
            listen.set_port(port.ok_or_else(|| usage(format!("--listen {}: no port is left after it", self.listen)))?);
        }
        Ok(listen)
    }

    fn machines(&self, name: &str, kind: CloudKind) -> anyhow::Result<Cloud> {
        let wrong = |error: sim::InvalidSettings| usage(error.to_string());
        let boot = Boot::exactly(Span(self.boot));
        let settings = Settings { seed: self.seed, boot, quota: self.quota, ..Settings::default() };
        let clock = SystemClock::new();
        let cloud = Cloud::new(settings, Arc::new(move || clock.now())).map_err(wrong)?;
        for At { value: group, .. } in self.groups.iter().filter(|at| at.cloud.as_deref().is_none_or(|of| of == name)) {
            let zones = ["a", "b", "c"].map(Box::from).into();
            let Group { name, desired, min, max } = group;
            let settings = GroupSettings { min: *min, max: *max, desired: *desired, zones, ..GroupSettings::default() };
            cloud.create(&kind.simulated(name), &settings).map_err(wrong)?;
        }
        Ok(cloud)
    }
}

/// Says what to write into skala.toml; all of it is TOML, with the rest as comments.
fn greet(clouds: &Clouds, control: SocketAddr, out: &mut Out) -> anyhow::Result<()> {
    for (name, live) in clouds {
        let access = live.access(name);
        writeln!(out, "{}", access.toml.trim_end())?;
        for (variable, value) in access.variables {
            writeln!(out, "# export {variable}='{value}'")?;
        }
        for group in live.groups() {
            writeln!(out, "# in a policy: group = \"{}\", with {} instances", group.group, group.running)?;
        }
        writeln!(out)?;
    }
    writeln!(out, "# ready; faults: curl -d 'throttle,for=1m' http://{control}/{}/faults", clouds[0].0)?;
    out.flush()?;
    Ok(())
}
