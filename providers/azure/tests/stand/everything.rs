//! A simulated Azure of which everything was asked that the provider can ask, for those who judge what was said.

use super::{certificate, clock, cloud, group, observe, serve, settings, target};
use azure::{AuthKind, Azure, Settings};
use contract::{Ask, Foreign, Owner, Provider, Suspended, Timestamp};
use sim_cloud::Server;
use sim_cloud::azure::{Azure as Simulated, Metrics, RESOURCE_GROUP, SUBSCRIPTION, Series};
use sim_cloud::fixture::Clock;
use std::time::Duration;
use tempfile::NamedTempFile;

/// The cloud after that.
pub struct Stand {
    /// Its time.
    pub clock: Clock,
    /// It, with every exchange.
    pub server: Server,
    /// The certificate with which the provider logged in.
    pub pem: NamedTempFile,
}

/// Asks everything of a cloud of Flexible or Uniform sets.
pub async fn used(flexible: bool) -> Stand {
    let clock = clock();
    let machines = cloud(3, &clock);
    let two = sim::GroupSettings { desired: 2, ..sim::GroupSettings::default() };
    machines.create("judged", &two).unwrap();
    machines.create("scaled", &two).unwrap();
    machines.set_foreign(&"scaled".into(), vec![Foreign { name: "any".into(), removes: None }]);
    let api = Simulated::new(machines.clone()).with_page(2);
    measure(&api.metrics());
    let server = serve(if flexible { api.flexible() } else { api }).await;
    let pem = certificate();
    let (base, _secret) = settings(&server.url());
    let settings = Settings {
        auth: AuthKind::ClientCertificate,
        client_secret_file: None,
        client_certificate_file: Some(pem.path().to_owned()),
        ..base
    };
    let provider = Azure::connect(settings, Owner { id: "skala-1".into() }, clock.reader()).await.unwrap();
    use_all_of_it(&provider, &machines, &clock).await;
    Stand { clock, server, pem }
}

/// Everything that the provider can say: it looks, raises, follows, terminates, is refused.
async fn use_all_of_it(provider: &Azure, machines: &sim::Cloud, clock: &Clock) {
    let asks: Vec<Ask> = ["web-0", "web-1", "web-2", "gone"].map(|name| Ask::new(group(name))).to_vec();
    provider.observe(&asks).await;
    let seen = observe(provider, &asks[0]).await.unwrap();
    let accepted = provider.raise(&target("web-0", &seen, 1), 4).await.unwrap();
    let open = Ask { operations: accepted.operations, ..asks[0].clone() };
    for _ in 0..8 {
        clock.pass(Duration::from_secs(20));
        observe(provider, &open).await.unwrap();
    }
    let seen = observe(provider, &asks[0]).await.unwrap();
    let named = [seen.instances[1].id.clone(), seen.instances[2].id.clone()];
    machines.protect(&"web-0".into(), &machines.truth(&"web-0".into()).unwrap().instances[3].id, true);
    let accepted = provider.terminator().unwrap().terminate(&target("web-0", &seen, 2), &named).await.unwrap();
    let open = Ask { operations: accepted.operations, ..asks[0].clone() };
    for _ in 0..4 {
        observe(provider, &open).await.unwrap();
        clock.pass(Duration::from_secs(15));
    }
    machines.set_suspended(&"web-1".into(), vec![Suspended::Refresh]);
    clock.pass(Duration::from_secs(61));
    let seen = observe(provider, &asks[1]).await.unwrap();
    assert_eq!(seen.suspended, [Suspended::Refresh]);
    // A write from a view that is old.
    machines.set_desired(&"web-2".into(), 3);
    let seen = observe(provider, &asks[2]).await.unwrap();
    machines.set_desired(&"web-2".into(), 5);
    provider.raise(&target("web-2", &seen, 3), 8).await.unwrap_err();
    hand_over_and_back(provider).await;
    read_metrics(provider, clock).await;
}

async fn hand_over_and_back(provider: &Azure) {
    let (native, scaled) = (provider.native().unwrap(), group("scaled"));
    native.describe(&scaled).await.unwrap();
    let undo = native.prepare(&scaled).await.unwrap();
    native.suspend(&scaled, &undo).await.unwrap();
    native.restore(&scaled, &undo).await.unwrap();
}

/// A metric as a whole, by machine, in every aggregation and period, and what is refused.
async fn read_metrics(provider: &Azure, clock: &Clock) {
    let cpu = format!("{RESOURCE_GROUP}/Microsoft.Compute/virtualMachineScaleSets/judged:\"Percentage CPU\"");
    let query = async |rest: &str| provider.metrics().unwrap().query(&format!("{cpu}{rest}"), clock.now()).await;
    for aggregation in ["Average", "Total", "Minimum", "Maximum", "Count", "Rate"] {
        assert_eq!(query(&format!(" {aggregation} 1h")).await.unwrap().len(), 1, "{aggregation}");
    }
    for period in ["1m", "5m", "15m", "30m", "1h", "6h", "12h", "1d"] {
        query(&format!("{{VMName=\"*\"}} Average {period}")).await.unwrap();
    }
    query("{Nobody=\"it's\"} Average 1m").await.unwrap_err();
    let nobody = format!("{RESOURCE_GROUP}/Microsoft.Compute/virtualMachineScaleSets/gone:X:Y Total 1m");
    provider.metrics().unwrap().query(&nobody, clock.now()).await.unwrap_err();
}

/// What two machines of a set measured in the minutes before the clock's beginning.
fn measure(metrics: &Metrics) {
    for (machine, value) in [("judged_0", 30.0), ("judged_1", 60.0)] {
        metrics.put(Series {
            resource: format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/judged"),
            metric: "Percentage CPU".into(),
            unit: "Percent".into(),
            dimensions: vec![("VMName".into(), machine.into())],
            samples: (1..9).map(|n| (Timestamp::from_secs(1_800_000_000 - 60 * n), value)).collect(),
            zeroes: false,
        });
    }
}
