//! A simulated AWS in this process, with the provider in front of it and clients of its own beside.

use super::{config, over};
use aws::Aws;
use aws_sdk_autoscaling::Client;
use conformance::Offers;
use contract::{Suspended, Timestamp};
use sim::{Boot, Cloud, Settings, Span};
use sim_cloud::Api;
use sim_cloud::aws::Aws as Simulated;
use sim_cloud::fixture::{Clock, Wire};
use std::sync::Arc;
use std::time::Duration;

pub struct Stand {
    pub wire: Wire,
    pub api: Arc<Simulated>,
    /// Another path than the provider's.
    pub asg: Client,
    pub ec2: aws_sdk_ec2::Client,
    pub provider: Aws,
}

/// Boots and terminations of twenty seconds.
pub fn settings() -> Settings {
    let span = Span(Duration::from_secs(20));
    Settings { boot: Boot::exactly(span), terminating: span, retry: span, ..Settings::default() }
}

impl Stand {
    /// `prefix`: what the simulated groups' names begin with, `""` or `servers:`; `page`: most groups or machines in one
    /// answer.
    pub async fn new(settings: Settings, prefix: &'static str, page: usize) -> Self {
        let clock = Clock::at(Timestamp::from_secs(1_700_000_000));
        let cloud = Cloud::new(settings, clock.reader()).unwrap();
        let api = Arc::new(Simulated::new(cloud.clone()).with_page(page));
        let mut wire = Wire::start(Arc::clone(&api) as Arc<dyn Api>, cloud, clock, prefix).await;
        // It would close the provider's limiter for real seconds; the wire tests have it.
        wire.offers.retry_after = false;
        wire.offers.page = Some(page);
        if prefix.is_empty() {
            wire.offers.suspends.push(Suspended::Other("AZRebalance".into()));
        } else {
            // A tag is no group to EC2: it is never missing, and there is nothing to suspend, own or control.
            let offers = wire.offers.clone();
            let (knows_groups, owner_tags, foreign, suspends) = (false, false, false, Vec::new());
            wire.offers = Offers { knows_groups, owner_tags, foreign, suspends, ..offers };
        }
        let url = wire.server.url();
        let config = config(&url).await;
        let (asg, ec2) = (Client::new(&config), aws_sdk_ec2::Client::new(&config));
        let provider = over(&url, "daemon-1", wire.clock.reader()).await;
        Self { wire, api, asg, ec2, provider }
    }

    /// How often the server was asked this.
    pub fn count(&self, operation: &str) -> usize {
        let asked = format!("Action={operation}&");
        self.wire.server.exchanges().iter().filter(|exchange| exchange.body.starts_with(&asked)).count()
    }
}
