//! One run of a command: no shell, no input, no environment but what was named, a deadline, an end to what it may print.
//! In: the command. Out: what it printed, or why that does not count. Whatever it started is killed with it, and nothing
//! of it is left as a zombie: the group is killed while its leader is not reaped yet, so its number is nobody else's.

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// The most that it may print.
pub(crate) const OUTPUT_MAX: usize = 4 * 1024 * 1024;
/// What is kept of its complaints.
const COMPLAINT_MAX: usize = 4 * 1024;
/// A killed process is gone at once, unless the kernel itself hangs.
const REAP_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at whether it has ended, at most.
const LOOK: Duration = Duration::from_millis(20);

/// Why a run does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ProgramError {
    /// It was killed at its deadline.
    #[error("it ran longer than {0:?} and was killed")]
    Timeout(Duration),
    /// There is nothing to run, or it may not be run.
    #[error("the command cannot be started: {0}")]
    NotStarted(String),
    /// It printed too much and was killed.
    #[error("it printed more than {OUTPUT_MAX} bytes and was killed")]
    TooLarge,
    /// It ended with another status than 0.
    #[error("it ended with {}: {complaint}", told(.status))]
    Status { status: ExitStatus, complaint: String },
    /// What it printed, or its end, cannot be told.
    #[error("{0}")]
    Failed(String),
}

/// What is run.
#[derive(Debug)]
pub(crate) struct Program {
    pub command: Vec<String>,
    pub environment: Vec<(String, OsString)>,
    pub timeout: Duration,
}

impl Program {
    /// Runs it once.
    pub async fn run(&self) -> Result<Vec<u8>, ProgramError> {
        let (mut child, mut group) = self.spawn()?;
        let ended = tokio::time::timeout(self.timeout, follow(&mut child, &group)).await;
        // Also after its own end: what it left behind in its group goes with it.
        group.kill();
        let status = tokio::time::timeout(REAP_WITHIN, child.wait()).await;
        group.is_reaped = status.is_ok();
        let printed = match ended {
            Ok(printed) => printed?,
            Err(_) => return Err(ProgramError::Timeout(self.timeout)),
        };
        if printed.is_cut {
            return Err(ProgramError::TooLarge);
        }
        let status = match status {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(failed(format!("its end cannot be told: {error}"))),
            Err(_) => return Err(failed("it does not end although it was killed".into())),
        };
        if !status.success() {
            let complaint = String::from_utf8_lossy(&printed.complaint).into_owned();
            return Err(ProgramError::Status { status, complaint });
        }
        Ok(printed.output)
    }

    fn spawn(&self) -> Result<(Child, Group), ProgramError> {
        let cannot = |why: &dyn std::fmt::Display| ProgramError::NotStarted(why.to_string());
        let Some((program, arguments)) = self.command.split_first() else { return Err(cannot(&"there is none")) };
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| cannot(&error))?;
        let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) else {
            return Err(cannot(&"it has no number"));
        };
        Ok((child, Group { leader: Pid::from_raw(id), is_reaped: false }))
    }
}

fn failed(detail: String) -> ProgramError {
    ProgramError::Failed(detail)
}

fn told(status: &ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".into(),
    }
}

/// A command's process group. Dropped before its leader was reaped, as when the daemon stops, it is killed.
struct Group {
    leader: Pid,
    is_reaped: bool,
}

impl Group {
    fn kill(&self) {
        // That nobody is left is no error.
        let _ = killpg(self.leader, Signal::SIGKILL);
    }

    /// Waits until the leader has ended, and leaves it to be reaped.
    async fn ended(&self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        let mut pause = Duration::from_millis(1);
        while matches!(waitid(Id::Pid(self.leader), flags), Ok(WaitStatus::StillAlive)) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill();
        }
    }
}

struct Printed {
    output: Vec<u8>,
    is_cut: bool,
    complaint: Vec<u8>,
}

/// Reads what it prints until it ends.
async fn follow(child: &mut Child, group: &Group) -> Result<Printed, ProgramError> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = async {
        let read = read(stdout, OUTPUT_MAX, false).await;
        if matches!(read, Ok((_, true))) {
            group.kill();
        }
        read
    };
    let end = async {
        group.ended().await;
        // Whoever it left behind may hold its output open for ever.
        group.kill();
    };
    let (output, complaint, ()) = futures_util::join!(output, read(stderr, COMPLAINT_MAX, true), end);
    let unread = |error: std::io::Error| failed(format!("its output cannot be read: {error}"));
    let (output, is_cut) = output.map_err(unread)?;
    Ok(Printed { output, is_cut, complaint: complaint.map_err(unread)?.0 })
}

/// Reads at most `limit` bytes and says whether there are more; with `drain` what comes after them is read and dropped.
async fn read(from: Option<impl AsyncRead + Unpin>, limit: usize, drain: bool) -> std::io::Result<(Vec<u8>, bool)> {
    let (mut bytes, mut is_cut) = (Vec::new(), false);
    let Some(mut from) = from else { return Ok((bytes, is_cut)) };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        let room = limit - bytes.len();
        bytes.extend_from_slice(&buffer[..count.min(room)]);
        is_cut |= count > room;
        if count == 0 || (is_cut && !drain) {
            return Ok((bytes, is_cut));
        }
    }
}
