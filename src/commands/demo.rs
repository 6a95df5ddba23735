//! `skala demo`: the real daemon on simulated clouds, and a day of load in a few minutes. Needs no account, no
//! configuration and no second terminal; ends by itself, with a summary. With `--wire` the clouds are behind their HTTP APIs.

mod load;
mod plan;
mod score;
mod wire;
mod world;

use super::{Exit, Out, duration};
use anyhow::Context;
use plan::{DAY, EVENING, Plan};
use score::{Score, faults};
use skala::api::{Api, Listeners};
use skala::app::StopReason;
use skala::clock::Clock;
use skala::control::Control;
use skala::published::Published;
use skala::store::sqlite::SqliteStore;
use skala::store::{Options, Store};
use skala::telemetry::ProcessMetrics;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use world::World;

/// The table is drawn, and the day judged, so often.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The address in the documentation; another when it is taken.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9464);
/// Nothing of the demo is worth a reserve on a full disk.
const RESERVE_BYTES: u64 = 1 << 20;

/// Show skala at work: simulated clouds, the real daemon, a day of load in a few minutes
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// How much faster than the wall clock the simulated time passes [default: 300, and 60 with --wire]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3600))]
    speed: Option<u32>,
    /// Behind HTTP: the clouds' APIs, simulated, and the providers and SDKs that a daemon in earnest has; an evening, with
    /// a fleet that spills over from one cloud into another
    #[arg(long)]
    wire: bool,
    /// End after this much real time; by default when the day, or the evening, is over
    #[arg(long = "for", value_name = "D", value_parser = duration)]
    lasts: Option<Duration>,
    /// Print the table once, after the first decisions, and end
    #[arg(long)]
    once: bool,
}

impl Demo {
    /// Runs the day.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let room = Room::new()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(self.day(&room.0, out))
    }

    async fn day(&self, room: &Path, out: &mut Out) -> anyhow::Result<Exit> {
        let (socket, store_path) = (room.join("skala.sock"), room.join("skala.db"));
        let listeners = listeners(&socket).await?;
        let address = listeners.tcp_address().context("no address")?;
        let plan: &'static Plan = if self.wire { &EVENING } else { &DAY };
        let speed = self.speed.unwrap_or(plan.speed);
        let world = World::new(plan, speed)?;
        let metrics = Arc::new(ProcessMetrics::new());
        // The servers live for as long as this does.
        let (_served, providers) = if self.wire {
            let served = wire::serve(&world, room, &metrics).await?;
            (Some(served.clouds), served.providers)
        } else {
            (None, world.providers(&metrics))
        };
        let options = Options { reserve: RESERVE_BYTES, ..Options::new("demo") };
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&store_path, options)?);
        let (control, asked) = mpsc::channel(16);
        let app = world.app(&store, &store_path, asked, (providers, metrics));
        let published = app.published();
        let (stop_api, api_stop) = watch::channel(false);
        let clock: Arc<dyn Clock> = Arc::clone(&world.clock) as Arc<dyn Clock>;
        let api = Api { published: published.clone(), control: control.clone(), store, clock };
        let serving = tokio::spawn(listeners.serve(api, api_stop));
        let running = tokio::spawn(app.run());
        greet(&socket, address, (plan, speed), out)?;
        let shown = self.show(&world, &published, out).await;
        // However the showing ended, the daemon is stopped as it would be in earnest.
        let _ = control.send(Control::Stop).await;
        let reason = running.await.context("the daemon panicked")?;
        let _ = stop_api.send(true);
        serving.await.context("the API ended badly")?;
        let score = shown?;
        if reason != StopReason::Asked {
            anyhow::bail!("the daemon did not stop well: {reason:?}");
        }
        summary(&world, &published, &score, out)?;
        Ok(Exit::Ok)
    }

    /// Looks and draws until the day, the time or the person's patience is over.
    async fn show(&self, world: &World, published: &Published, out: &mut Out) -> anyhow::Result<Score> {
        let mut score = Score::new(world);
        let mut screen = Screen { live: io::stdout().is_terminal() && !self.once, lines: 0, hour: None };
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let end = async {
            match self.lasts {
                Some(lasts) => tokio::time::sleep(lasts).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => return Ok(score),
                () = &mut end => return Ok(score),
                _ = looks.tick() => {}
            }
            score.look(world);
            let decided = published.process().first_round_done;
            if decided {
                screen.draw(world, published, &score, out)?;
            }
            if world.elapsed() >= world.plan.lasts || (self.once && decided) {
                return Ok(score);
            }
        }
    }
}

/// A directory for the socket and the store, gone at the end.
struct Room(PathBuf);

impl Room {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("skala-demo-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary directory, where the system sweeps.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn listeners(socket: &Path) -> anyhow::Result<Listeners> {
    match Listeners::bind(Some(socket), Some(SocketAddr::from(LISTEN))).await {
        Ok(listeners) => Ok(listeners),
        // Taken, perhaps by a real skala: any other will do.
        Err(_) => Ok(Listeners::bind(Some(socket), Some(SocketAddr::from((LISTEN.0, 0)))).await?),
    }
}

fn greet(socket: &Path, address: SocketAddr, (plan, speed): (&Plan, u32), out: &mut Out) -> io::Result<()> {
    let fleet = plan.workloads[plan.workloads.len() - 1].fleet;
    writeln!(out, "{} {} s.", plan.title, plan.lasts.as_secs() / u64::from(speed))?;
    writeln!(out, "In another terminal:  skala status --socket {}", socket.display())?;
    writeln!(out, "                      skala explain {fleet} --socket {}", socket.display())?;
    writeln!(out, "                      curl http://{address}/metrics\n")?;
    out.flush()
}

/// The table: redrawn in place on a terminal, printed once for each simulated hour anywhere else.
struct Screen {
    live: bool,
    lines: usize,
    hour: Option<u64>,
}

impl Screen {
    fn draw(&mut self, world: &World, published: &Published, score: &Score, out: &mut Out) -> io::Result<()> {
        let hour = world.elapsed().as_secs() / 3600;
        if !self.live && self.hour.replace(hour) == Some(hour) {
            return Ok(());
        }
        let rows = rows(world, published, score);
        if self.live && self.lines > 0 {
            write!(out, "\x1b[{}A", self.lines)?;
        }
        // Cleared to its end, each line, since the last one there may have been longer.
        let clear = if self.live { "\x1b[K" } else { "" };
        rows.iter().try_for_each(|row| writeln!(out, "{row}{clear}"))?;
        self.lines = rows.len();
        out.flush()
    }
}

fn rows(world: &World, published: &Published, score: &Score) -> Vec<String> {
    let secs = (world.plan.begins + world.elapsed()).as_secs();
    let wide = world.plan.workloads.iter().map(|workload| workload.clouds().len()).max().unwrap_or(0) + 1;
    let mut rows = vec![
        format!("{:02}:{:02}  {}", secs / 3600 % 24, secs / 60 % 60, happening(world)),
        format!(
            "  {:<9} {:<wide$} {:>14} {:>5} {:>7} {:>7} {:>5} {:>9}  {}",
            "FLEET", "CLOUD", "LOAD", "NEEDS", "RUNNING", "DESIRED", "BOOT", "SHORT", "WHY"
        ),
    ];
    for (workload, score) in world.plan.workloads.iter().zip(score.fleets()) {
        let Some(fleet) = published.fleet(workload.fleet) else { continue };
        let decision = fleet.decision.as_ref();
        let why = match decision {
            None => "not decided yet".into(),
            Some(decision) => match decision.hold {
                Some(hold) => format!("{}: {}", hold.reason, hold.reason.meaning()),
                None => format!("scales {}", decision.direction().word()),
            },
        };
        let mut row = format!(
            "  {:<9} {:<wide$} {:>14} {:>5} {:>7} {:>7} {:>5} {:>9}  {why}",
            workload.fleet,
            workload.clouds(),
            format!("{:.0} {}", workload.load(world.hour()), workload.unit),
            workload.needed(world.hour()),
            workload.places.iter().map(|place| world.running_at(place).to_string()).collect::<Vec<_>>().join("+"),
            super::table::known(decision.and_then(|decision| decision.desired)),
            fleet.groups.iter().map(|group| group.instances[0]).sum::<u32>(),
            format!("{} min", score.short.as_secs() / 60),
        );
        // A line that wraps would break the redrawing; eighty columns and half as many again is a usual terminal.
        row.truncate(row.char_indices().nth(118).map_or(row.len(), |(at, _)| at));
        rows.push(row);
    }
    rows.push(String::new());
    rows
}

/// What goes wrong just now.
fn happening(world: &World) -> String {
    let now = world.elapsed();
    let on = world.troubles().iter().filter(|one| one.from <= now && one.until.is_some_and(|until| now < until));
    let mut all: Vec<String> = on.map(|one| format!("{}: {}", one.cloud, one.name)).collect();
    if (world.plan.blackout.0..world.plan.blackout.1).contains(&world.hour()) {
        all.push("the source of all readings does not answer".into());
    }
    if all.is_empty() { "all is well".into() } else { format!("trouble! {}", all.join("; ")) }
}

fn summary(world: &World, published: &Published, score: &Score, out: &mut Out) -> io::Result<()> {
    let hours = |time: Duration| time.as_secs_f64() / 3600.0;
    let secs = world.elapsed().min(world.plan.lasts).as_secs();
    writeln!(out, "\n{}:{:02} hours of load:", secs / 3600, secs / 60 % 60)?;
    for (workload, score) in world.plan.workloads.iter().zip(score.fleets()) {
        write!(
            out,
            "  {:<9} {:>4} minutes short, {:>6.1} instance hours, {:>4} changes",
            workload.fleet,
            score.short.as_secs() / 60,
            hours(score.paid),
            world.changes(workload)
        )?;
        if let [_, spilled @ ..] = workload.places
            && !spilled.is_empty()
        {
            let places = workload.places.iter().map(|of| format!("{:.1} in {}", hours(world.billed(of)), of.cloud));
            write!(out, "; {} of the hours", places.collect::<Vec<_>>().join(", "))?;
        }
        writeln!(out)?;
    }
    let (over, survived) = faults(world, published);
    writeln!(out, "  {survived} of {over} faults survived")?;
    out.flush()
}
