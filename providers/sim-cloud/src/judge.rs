//! What went over the wire while a suite ran, held against its cloud's published schema by software that nobody here wrote.

use crate::server::Server;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Has `tests/clouds/SCRIPT` judge every exchange of these servers that was not broken on purpose. `expected`: kinds of
/// exchanges, by the script's own names, of which there must have been some. Without `SKALA_VENV`, which names the judges'
/// venv, it does nothing: a suite runs without them too, and what fails then is the provider's test of the judges.
///
/// # Panics
/// With what does not fit, with the kinds that were not there, and when an exchange was forgotten before it was judged.
#[allow(clippy::expect_used)]
pub fn judge(script: &str, servers: &[&Server], expected: &[&str]) {
    let Some(venv) = std::env::var_os("SKALA_VENV") else { return };
    let mut lines = String::new();
    for server in servers {
        let calls = server.calls();
        let kept = server.exchanges_as_lines();
        let all = calls.reads + calls.writes + calls.others;
        assert_eq!(kept.lines().count() as u64, all, "the server has forgotten the oldest exchanges");
        lines += &kept;
    }
    let mut judge = Command::new(Path::new(&venv).join("bin/python"))
        // Without the script's folder in the search path: its name may also be its library's.
        .arg("-P")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clouds").join(script))
        .arg("/dev/stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python of SKALA_VENV does not start");
    // A judge that stops reading says why.
    let _ = judge.stdin.take().map(|mut stdin| stdin.write_all(lines.as_bytes()));
    let output = judge.wait_with_output().expect("its output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
    let found: BTreeMap<String, u64> = serde_json::from_slice(&output.stdout).expect("counts");
    let missing: Vec<_> = expected.iter().filter(|kind| !found.contains_key(**kind)).collect();
    assert!(missing.is_empty(), "{missing:?} were not judged: {found:?}");
}
