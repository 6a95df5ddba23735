//! A command that drains an instance. It learns from its environment what to do, and says by its exit status how far it
//! is. It may take as long as the instance has.

use super::{DrainAsk, DrainError, Drainer, Progress};
use crate::program::{Program, ProgramError};
use contract::BoxFuture;
use std::ffi::OsString;
use std::time::Duration;

/// "It goes on; ask again": `EX_TEMPFAIL` of sysexits.h.
const GOES_ON: i32 = 75;

/// A command.
#[derive(Debug)]
pub struct Exec {
    command: Vec<String>,
    environment: Vec<(String, OsString)>,
}

impl Exec {
    /// A command, and the names of the environment's variables that it is given besides `SKALA_...`. `environment` gives
    /// their values; one that is not set is left out.
    pub fn new(command: Vec<String>, names: Vec<String>, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        let environment = names.into_iter().filter_map(|name| environment(&name).map(|value| (name, value))).collect();
        Self { command, environment }
    }

    fn program(&self, ask: &DrainAsk, within: Duration) -> Program {
        let mut environment = self.environment.clone();
        let own = [
            ("SKALA_DO", ask.r#do.word()),
            ("SKALA_FLEET", &ask.fleet),
            ("SKALA_PROVIDER", &ask.provider),
            ("SKALA_GROUP", &ask.group),
            ("SKALA_INSTANCE", ask.instance.as_str()),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.into())));
        let until = ask.until.map(|until| ("SKALA_UNTIL".to_owned(), format!("{:.0}", until.as_secs_f64()).into()));
        environment.extend(until);
        Program { command: self.command.clone(), environment, timeout: within }
    }
}

impl Drainer for Exec {
    fn ask<'a>(&'a self, ask: &'a DrainAsk, within: Duration) -> BoxFuture<'a, Result<Progress, DrainError>> {
        Box::pin(async move {
            match self.program(ask, within).run().await {
                Ok(_) => Ok(Progress::Done),
                Err(ProgramError::Status { status, .. }) if status.code() == Some(GOES_ON) => Ok(Progress::Going),
                Err(error) => Err(DrainError(crate::sources::shown(&error.to_string()))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::DrainDo;
    use super::*;
    use contract::Timestamp;

    async fn run(script: &str) -> Result<Progress, DrainError> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).into();
        let drainer =
            Exec::new(command, vec!["GIVEN".into(), "UNSET".into()], |name| (name == "GIVEN").then(|| "given".into()));
        let ask = DrainAsk {
            r#do: DrainDo::Return,
            fleet: "web".into(),
            provider: "aws".into(),
            group: "web-asg".into(),
            instance: "i-1".into(),
            until: Some(Timestamp(1_700_000_000_000_000)),
        };
        drainer.ask(&ask, Duration::from_millis(800)).await
    }

    #[tokio::test]
    async fn its_status_says_how_far_it_is() {
        assert_eq!(run("exit 0").await, Ok(Progress::Done));
        assert_eq!(run("exit 75").await, Ok(Progress::Going));
        let error = run("echo no such node >&2; exit 3").await.unwrap_err().to_string();
        assert!(error.contains("exit status 3") && error.contains("no such node"), "{error}");
        let error = run("sleep 30").await.unwrap_err().to_string();
        assert!(error.contains("was killed"), "{error}");
    }

    #[tokio::test]
    async fn it_is_told_everything_by_its_environment() {
        let all = "$SKALA_DO $SKALA_FLEET $SKALA_PROVIDER $SKALA_GROUP $SKALA_INSTANCE $SKALA_UNTIL $GIVEN $UNSET$PATH";
        let script = format!(
            "[ \"{all}\" = 'return web aws web-asg i-1 1700000000 given '\"$PATH\" ] || {{ echo \"{all}\" >&2; exit 1; }}"
        );
        assert_eq!(run(&script).await, Ok(Progress::Done));
    }
}
