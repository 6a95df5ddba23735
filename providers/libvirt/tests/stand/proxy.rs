//! Between a client of libvirt and its libvirtd: passes on the messages of libvirt's protocol, and breaks those that a
//! test names. A message is its length in four bytes and a header of program, version, procedure, type, serial, status.

use conformance::{Call, Fault};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Procedures of libvirt's remote protocol (remote_protocol.x) that change something.
const CREATE: u32 = 9;
const DEFINE_XML: u32 = 11;
const DESTROY: u32 = 12;
const SHUTDOWN: u32 = 33;
const UNDEFINE: u32 = 35;
const UNDEFINE_FLAGS: u32 = 231;
const SET_METADATA: u32 = 264;
const CREATE_WITH_FLAGS: u32 = 196;
const DEFINE_XML_FLAGS: u32 = 350;
/// The read that an observation begins with.
const LIST_ALL_DOMAINS: u32 = 273;
/// What an instance's state comes from.
const GET_STATE: u32 = 212;
/// Where a message's own part begins.
const BODY: usize = 28;
/// Error numbers of libvirt (virterror.h).
const OPERATION_DENIED: u32 = 29;
const AUTH_FAILED: u32 = 45;
/// The program that domains are spoken of with.
const REMOTE_PROGRAM: u32 = 0x2000_8086;
const IS_CALL: u32 = 0;
const IS_REPLY: u32 = 1;
/// Launches run side by side over one connection: so long the others have to get as far, before it is cut.
const OTHERS: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Shared {
    fault: Mutex<Option<(Call, Fault)>>,
    open: Mutex<Vec<UnixStream>>,
    seen: Mutex<Vec<u32>>,
    deaf: AtomicBool,
    /// How often the host has lost its power.
    blackouts: AtomicU32,
}

pub struct Proxy {
    shared: Arc<Shared>,
    path: PathBuf,
    stopped: Arc<AtomicBool>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.cut();
        drop(UnixStream::connect(&self.path));
    }
}

impl Proxy {
    /// Listens beside the daemon's own sockets.
    pub fn before(daemon: PathBuf, path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared::default());
        let stopped = Arc::new(AtomicBool::new(false));
        let (mine, over) = (Arc::clone(&shared), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                if let Some((_, Fault::Unsent)) = *mine.fault.lock().unwrap() {
                    continue;
                }
                let server = UnixStream::connect(&daemon).unwrap();
                for stream in [&client, &server] {
                    mine.open.lock().unwrap().push(stream.try_clone().unwrap());
                }
                let (shared, from, to) = (Arc::clone(&mine), client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pump(&shared, from, to, IS_CALL));
                let shared = Arc::clone(&mine);
                std::thread::spawn(move || pump(&shared, server, client, IS_REPLY));
            }
        });
        Self { shared, path: path.to_owned(), stopped }
    }

    pub fn inject(&self, call: Call, fault: &Fault) {
        *self.shared.fault.lock().unwrap() = Some((call, fault.clone()));
        if matches!(fault, Fault::Unsent) {
            self.cut();
        }
    }

    /// Ends the fault. Connections whose messages were kept back are of no more use, so all are cut.
    pub fn clear(&self) {
        if self.shared.fault.lock().unwrap().take().is_some() {
            self.cut();
        }
    }

    /// From now on guests do not listen: a request to shut down is taken, and nothing comes of it.
    pub fn make_guests_deaf(&self) {
        self.shared.deaf.store(true, Ordering::SeqCst);
    }

    /// The host loses its power: over connections of before nothing comes any more, not even their end. It is up again
    /// at once for new ones.
    pub fn lose_power(&self) {
        self.shared.blackouts.fetch_add(1, Ordering::SeqCst);
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The procedures called since the last time.
    pub fn take_seen(&self) -> Vec<u32> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }
}

fn pump(shared: &Shared, mut from: UnixStream, mut to: UnixStream, kind: u32) {
    let born = shared.blackouts.load(Ordering::SeqCst);
    while let Some(mut message) = read(&mut from) {
        if born != shared.blackouts.load(Ordering::SeqCst) {
            continue;
        }
        let word = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        let ours = message.len() >= 28 && word(4) == REMOTE_PROGRAM && word(16) == kind;
        let procedure = if ours { word(12) } else { 0 };
        if ours && kind == IS_CALL {
            shared.seen.lock().unwrap().push(procedure);
        }
        if ours && kind == IS_CALL && procedure == SHUTDOWN && shared.deaf.load(Ordering::SeqCst) {
            _ = from.write_all(&answer(&message, 0, &[]));
            continue;
        }
        let fault = shared.fault.lock().unwrap().clone();
        let pass = match fault.filter(|(call, _)| ours && *call == call_of(procedure)) {
            None => true,
            Some((_, fault)) if kind == IS_CALL && forged(&fault, &message).is_some() => {
                _ = from.write_all(&forged(&fault, &message).unwrap());
                continue;
            }
            Some((_, fault)) if kind == IS_REPLY && alter(&fault, procedure, &mut message) => true,
            Some((call, fault)) => meet(call, &fault, procedure, kind, &mut to),
        };
        let whole = match pass {
            true => to.write_all(&message).is_ok(),
            false => !matches!(shared.fault.lock().unwrap().as_ref(), Some((_, Fault::ErrorBeforeEffect))),
        };
        if !whole {
            break;
        }
    }
    if born != shared.blackouts.load(Ordering::SeqCst) {
        // That libvirtd has given up is not heard either.
        return;
    }
    _ = from.shutdown(Shutdown::Both);
    _ = to.shutdown(Shutdown::Both);
}

/// What a fault does to one message; true lets it pass.
fn meet(call: Call, fault: &Fault, procedure: u32, kind: u32, to: &mut UnixStream) -> bool {
    // What takes effect at the daemon: the start of a launch, the mark of a termination.
    let decides = call == Call::Read || matches!(procedure, CREATE | CREATE_WITH_FLAGS | SET_METADATA);
    match fault {
        Fault::ErrorBeforeEffect => kind != IS_CALL,
        Fault::Timeout => kind != IS_REPLY || !decides,
        Fault::ErrorAfterEffect | Fault::BrokenBody if kind == IS_REPLY && decides => {
            let (garbled, mut to) = (matches!(fault, Fault::BrokenBody), to.try_clone().unwrap());
            // Beside the pump: the others' answers come over the same connection.
            std::thread::spawn(move || {
                if call == Call::Write {
                    wait(OTHERS);
                }
                if garbled {
                    // A length that no message has.
                    _ = to.write_all(&[0xff; 64]);
                } else {
                    _ = to.shutdown(Shutdown::Both);
                }
            });
            false
        }
        Fault::Slow(span) if kind == IS_CALL && procedure == LIST_ALL_DOMAINS => {
            wait(*span);
            true
        }
        _ => true,
    }
}

/// What is answered in the daemon's place, where a fault has it so.
fn forged(fault: &Fault, call: &[u8]) -> Option<Vec<u8>> {
    match fault {
        Fault::Denied => Some(refusal(call, OPERATION_DENIED, b"operation forbidden: read only access prevents it")),
        Fault::WrongCredentials => Some(refusal(call, AUTH_FAILED, b"authentication failed: nobody has such a name")),
        Fault::Html => Some(b"HTTP/1.1 200 OK\r\n\r\n<html><body>It works!</body></html>\n".to_vec()),
        _ => None,
    }
}

/// An error as libvirtd answers it.
fn refusal(call: &[u8], code: u32, words: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = [code, 0, 1, words.len() as u32].iter().flat_map(|word| word.to_be_bytes()).collect();
    body.extend_from_slice(words);
    body.resize(body.len().next_multiple_of(4), 0);
    // Level 2, no domain, no words more, two numbers, no network.
    body.extend([2_u32, 0, 0, 0, 0, 0, 0, 0].iter().flat_map(|word| word.to_be_bytes()));
    answer(call, 1, &body)
}

/// Changes what the daemon answered, where a fault has it so. A list is its length, its domains (a name with its length,
/// filled up to a multiple of four, 16 bytes of UUID, four of id), and its length again.
fn alter(fault: &Fault, procedure: u32, reply: &mut Vec<u8>) -> bool {
    match (fault, procedure) {
        (Fault::OutOfRange, LIST_ALL_DOMAINS) => reply[BODY..BODY + 4].copy_from_slice(&[0xff; 4]),
        (Fault::UnknownWords, GET_STATE) => reply[BODY..BODY + 4].copy_from_slice(&99_u32.to_be_bytes()),
        (Fault::Duplicates, LIST_ALL_DOMAINS) => {
            let count = u32::from_be_bytes(reply[BODY..BODY + 4].try_into().unwrap()) * 2;
            let domains = reply[BODY + 4..reply.len() - 4].to_vec();
            reply.truncate(BODY);
            reply.extend(count.to_be_bytes());
            reply.extend_from_slice(&domains);
            reply.extend_from_slice(&domains);
            reply.extend(count.to_be_bytes());
            let length = reply.len() as u32;
            reply[..4].copy_from_slice(&length.to_be_bytes());
        }
        _ => return false,
    }
    true
}

/// The answer to a call; status 0 is that it was done.
fn answer(call: &[u8], status: u32, body: &[u8]) -> Vec<u8> {
    let mut reply = (28 + body.len() as u32).to_be_bytes().to_vec();
    reply.extend_from_slice(&call[4..16]);
    reply.extend(IS_REPLY.to_be_bytes());
    reply.extend_from_slice(&call[20..24]);
    reply.extend(status.to_be_bytes());
    reply.extend_from_slice(body);
    reply
}

fn call_of(procedure: u32) -> Call {
    let writes = [
        CREATE,
        CREATE_WITH_FLAGS,
        DEFINE_XML,
        DEFINE_XML_FLAGS,
        DESTROY,
        SHUTDOWN,
        UNDEFINE,
        UNDEFINE_FLAGS,
        SET_METADATA,
    ];
    if writes.contains(&procedure) { Call::Write } else { Call::Read }
}

fn read(from: &mut UnixStream) -> Option<Vec<u8>> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message).ok()?;
    let length = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
    message.resize(length.max(4), 0);
    from.read_exact(&mut message[4..]).ok()?;
    Some(message)
}

// A proxy's own threads may wait.
#[allow(clippy::disallowed_methods)]
fn wait(span: Duration) {
    std::thread::sleep(span);
}
