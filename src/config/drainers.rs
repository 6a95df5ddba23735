//! `[drainer.NAME]`: who makes an instance let go of its work before it is terminated. One table in, its settings out.

use super::fetch::{Paths, address, read_headers, read_settings};
use super::sources::read_command;
use crate::http::{FetchSettings, check_document};
use policies::policy::{Fault, Place, Reader, nearest, units};

/// `[drainer.NAME]`.
#[derive(Clone, Debug)]
pub struct DrainerConfig {
    /// Its name.
    pub name: Box<str>,
    /// What it is.
    pub kind: DrainerKind,
    /// Where it stands.
    pub place: Place,
}

/// What a drainer is.
#[derive(Clone, Debug)]
pub enum DrainerKind {
    /// A server that is sent a JSON document.
    Webhook {
        /// Its URL.
        url: String,
        /// How to reach it.
        settings: FetchSettings,
    },
    /// A command.
    Exec {
        /// The program's absolute path, and its arguments. No shell reads them.
        command: Vec<String>,
        /// Names of the environment's variables that it is given.
        environment: Vec<String>,
    },
}

const KINDS: [&str; 2] = ["webhook", "exec"];

pub(super) fn read_drainer(mut r: Reader<'_>, name: &str, paths: &Paths<'_>) -> Option<DrainerConfig> {
    let kind = |node: &_| {
        let kind = units::text(node)?;
        if KINDS.contains(&kind.as_ref()) {
            return Ok(kind);
        }
        let fault = Fault::new(format!("must be \"webhook\" or \"exec\", not \"{}\"", units::cut(&kind)));
        Err(match nearest(&kind, KINDS) {
            Some(near) => fault.hint(format!("did you mean \"{near}\"?")),
            None => fault.hint("a cloud's own hook needs no drainer: leave out `[fleet.NAME.drain]`"),
        })
    };
    let kind = r.need_or("kind", kind, Some("kind = \"webhook\" or \"exec\""))?;
    let place = r.findings().place(r.at());
    let kind = match &*kind {
        "webhook" => read_webhook(&mut r, paths),
        _ => read_command(&mut r, "command = [\"/usr/local/bin/drain\"]")
            .map(|(command, environment)| DrainerKind::Exec { command, environment }),
    };
    r.finish();
    Some(DrainerConfig { name: name.into(), kind: kind?, place })
}

fn read_webhook(r: &mut Reader<'_>, paths: &Paths<'_>) -> Option<DrainerKind> {
    let address = address(check_document, "write \"https://balancer.internal/drain\"");
    let url = r.need_or("url", address, Some("url = \"https://balancer.internal/drain\""));
    let mut settings = read_settings(r, paths);
    settings.headers = read_headers(r, paths);
    Some(DrainerKind::Webhook { url: url?, settings })
}
