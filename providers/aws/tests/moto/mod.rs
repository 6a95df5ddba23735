//! A moto server for tests, and groups in it made through the SDK, not through the provider under test.

use aws::{Aws, Settings};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use contract::{Owner, Timestamp};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One server and clients of its own.
pub struct Moto {
    pub config: SdkConfig,
    pub client: aws_sdk_autoscaling::Client,
    pub ec2: aws_sdk_ec2::Client,
    child: Option<Child>,
    made: AtomicU32,
}

impl Drop for Moto {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_secs_f64(since.as_secs_f64()).unwrap()
}

/// An SDK configuration for a server on this machine.
pub async fn config(url: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::from_keys("test", "test", None))
        .load()
        .await
}

/// A provider over such a configuration.
pub fn provider(config: &SdkConfig, owner: &str) -> Aws {
    let settings = Settings { region: "us-east-1".into(), ..Settings::default() };
    Aws::over(config.clone(), &settings, Owner { id: owner.into() }, Arc::new(now))
}

impl Moto {
    /// The server that the environment names, or a new one.
    pub async fn get() -> Self {
        let (url, child) = match (std::env::var("SKALA_MOTO_URL"), std::env::var("SKALA_VENV")) {
            (Ok(url), _) => (url, None),
            (Err(_), Ok(venv)) => {
                let port = free_port();
                let child = Command::new(format!("{venv}/bin/moto_server"))
                    .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("moto_server of SKALA_VENV does not start");
                (format!("http://127.0.0.1:{port}"), Some(child))
            }
            _ => panic!("no moto: set SKALA_MOTO_URL or SKALA_VENV; tests/run installs and does both"),
        };
        let config = config(&url).await;
        let client = aws_sdk_autoscaling::Client::new(&config);
        let ec2 = aws_sdk_ec2::Client::new(&config);
        let moto = Self { config, client, ec2, child, made: AtomicU32::new(0) };
        for _ in 0..200 {
            if moto.answers().await {
                return moto;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("moto at {url} does not answer within 10 s");
    }

    async fn answers(&self) -> bool {
        self.client.describe_auto_scaling_groups().max_records(1).send().await.is_ok()
    }

    /// A group of its own, with a name that no other test has.
    pub async fn group(&self, min: i32, max: i32, desired: i32) -> String {
        let name = format!("g-{}-{}", std::process::id(), self.made.fetch_add(1, Ordering::Relaxed));
        let name = format!("{name}-{:x}", now().0);
        self.ec2
            .create_launch_template()
            .launch_template_name(&name)
            .launch_template_data(
                aws_sdk_ec2::types::RequestLaunchTemplateData::builder()
                    .image_id("ami-12c6146b")
                    .instance_type(aws_sdk_ec2::types::InstanceType::T3Micro)
                    .build(),
            )
            .send()
            .await
            .unwrap();
        self.client
            .create_auto_scaling_group()
            .auto_scaling_group_name(&name)
            .launch_template(
                aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder()
                    .launch_template_name(&name)
                    .version("1")
                    .build(),
            )
            .min_size(min)
            .max_size(max)
            .desired_capacity(desired)
            .availability_zones("us-east-1a")
            .send()
            .await
            .unwrap();
        name
    }

    /// A provider under test.
    pub async fn provider(&self, owner: &str) -> Aws {
        provider(&self.config, owner)
    }
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
