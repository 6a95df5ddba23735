//! moto, a cloud API server that nobody here wrote.

use super::{Clock, config};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One server and clients of its own, which take another path than the provider's.
pub struct Cloud {
    pub url: String,
    pub asg: aws_sdk_autoscaling::Client,
    pub ec2: aws_sdk_ec2::Client,
    child: Option<Child>,
    made: AtomicU32,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

impl Cloud {
    /// moto, where the environment says it is, or from the venv that it names. Without either a test fails: one that
    /// quietly does nothing proves nothing.
    pub async fn moto() -> Self {
        match (std::env::var("SKALA_MOTO_URL"), std::env::var("SKALA_VENV")) {
            (Ok(url), _) => Self::at(url, None).await,
            (Err(_), Ok(venv)) => {
                let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                let child = Command::new(format!("{venv}/bin/moto_server"))
                    .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("moto_server of SKALA_VENV does not start");
                Self::at(format!("http://127.0.0.1:{port}"), Some(child)).await
            }
            _ => panic!("no moto: set SKALA_MOTO_URL or SKALA_VENV; tests/run installs it and sets them"),
        }
    }

    pub async fn at(url: String, child: Option<Child>) -> Self {
        let config = config(&url).await;
        let asg = aws_sdk_autoscaling::Client::new(&config);
        let ec2 = aws_sdk_ec2::Client::new(&config);
        let cloud = Self { url, asg, ec2, child, made: AtomicU32::new(0) };
        for _ in 0..300 {
            if cloud.asg.describe_auto_scaling_groups().max_records(1).send().await.is_ok() {
                return cloud;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} does not answer within 15 s", cloud.url);
    }

    /// A name that nothing else has, not even in an earlier run.
    pub fn name(&self) -> String {
        let secs = Clock.now().0 / 1_000_000;
        format!("g-{secs:x}-{}-{}", std::process::id(), self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a launch template, which moto asks for.
    pub async fn template(&self, name: &str) {
        let data = aws_sdk_ec2::types::RequestLaunchTemplateData::builder()
            .image_id("ami-12c6146b")
            .instance_type(aws_sdk_ec2::types::InstanceType::T3Micro)
            .build();
        self.ec2.create_launch_template().launch_template_name(name).launch_template_data(data).send().await.unwrap();
    }

    /// A group; its launch template has its name.
    pub async fn group(&self, name: &str, min: u32, max: u32, desired: u32) {
        let template = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder()
            .launch_template_name(name)
            .version("1")
            .build();
        self.asg
            .create_auto_scaling_group()
            .auto_scaling_group_name(name)
            .launch_template(template)
            .min_size(min as i32)
            .max_size(max as i32)
            .desired_capacity(desired as i32)
            .availability_zones("us-east-1a")
            .send()
            .await
            .unwrap();
    }

    /// A POST, or a GET without a body, past every client library; its answer.
    pub async fn request(&self, path: &str, json: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = self.url.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let verb = if json.is_empty() { "GET" } else { "POST" };
        let request = format!(
            "{verb} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{json}",
            json.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{path} {json}: {answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}
