//! Processes of these tests: started on free loopback ports, ended with the value that owns them, whatever happens. Their
//! output goes to a file beside them, which a failing test shows.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Longer than any start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The Python environment that `tests/run` makes.
pub fn venv() -> PathBuf {
    match std::env::var_os("SKALA_VENV") {
        Some(venv) => venv.into(),
        None => panic!("SKALA_VENV is not set: run tests/run, which installs moto, microburst and boto3 and sets it"),
    }
}

/// A loopback port that nothing listens on. It is free again at once: nothing else asks for ports as quickly as the
/// caller uses it.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running process; dropping it kills it.
pub struct Process {
    child: Child,
    log: PathBuf,
    what: String,
}

impl Process {
    /// Starts a program that logs into `log`. It also dies with this process, should that be killed.
    pub fn start(what: &str, command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let mut command = leashed(&command);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = spawn(command).unwrap_or_else(|error| panic!("{what} cannot be started: {error}"));
        Self { child, log: log.into(), what: what.into() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name: `KILL`, `STOP`, `CONT`, `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(sent.success(), "{}: kill -{name} failed", self.what);
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end within {patience:?}\n{}", self.what, self.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it takes connections.
    pub fn wait_listening(&mut self, port: u16) {
        let deadline = Instant::now() + PATIENCE;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if let Some(status) = self.ended() {
                panic!("{} ended with {status}\n{}", self.what, self.tail());
            }
            assert!(Instant::now() < deadline, "{} does not listen within {PATIENCE:?}\n{}", self.what, self.tail());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The same program, arguments and environment; the kernel kills it when its starter ends.
pub fn leashed(command: &Command) -> Command {
    let mut leashed = Command::new("setpriv");
    leashed.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    leashed.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LANG"] {
        leashed.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    leashed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    leashed
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts a command from a thread that lives as long as the process: the kernel's leash is a thread's, and a test's own
/// ends with the test while others still use what it started.
pub fn spawn(command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, taken): (Sender<Order>, Receiver<Order>) = channel();
        std::thread::spawn(move || {
            for (mut command, answer) in taken {
                _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = channel();
    starter.lock().unwrap().send((command, answer)).unwrap();
    child.recv().unwrap()
}
