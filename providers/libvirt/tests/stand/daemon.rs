//! A libvirtd of the test's own: without privileges, in a folder that goes with it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Whoever runs the tests as root has it run as this user: root's libvirtd is the machine's.
const NOBODY: u32 = 65534;

pub struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Daemon {
    pub async fn start() -> Self {
        // Short, since a socket's path may have 107 characters.
        let folder = tempfile::Builder::new().prefix("lv").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        // Without virtlogd, which would outlive it.
        let settings = folder.path().join("libvirt");
        std::fs::create_dir(&settings).unwrap();
        std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(settings.join("qemu.conf"), "stdio_handler = \"file\"\n").unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("libvirtd");
        command.current_dir(folder.path()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        for key in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            command.env(key, folder.path());
        }
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().expect("libvirtd is not installed (Debian: libvirt-daemon)");
        let daemon = Self { child, folder };
        for _ in 0..200 {
            if daemon.socket("libvirt-sock").exists() {
                return daemon;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("libvirtd does not come up: {}", std::fs::read_to_string(log).unwrap_or_default());
    }

    /// Where its socket is, and others may be.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join("libvirt").join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
