//! Opening a store: a path in, a checked database of this schema out, or the reason why not. A missing store is made
//! whole or not at all; an existing one is never replaced.

use super::db::Db;
use super::fault::corrupt;
use super::reserve::Reserve;
use super::schema;
use crate::store::{Options, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tables small enough to be checked whole at every start. The journal is not: checking gigabytes would delay every start
/// by minutes, and damage there shows when it is written or explained from.
const ESSENTIAL: [&str; 11] = [
    "meta",
    "names",
    "memories",
    "learned",
    "actions",
    "overrides",
    "lease",
    "policy_sets",
    "policy_texts",
    "policy_files",
    "tails",
];
/// Up to this size the whole file is checked.
const CHECK_ALL_BELOW: u64 = 64 << 20;

/// How often, and how far apart, a lock that is held is tried again.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// What can only be set before the first table; setting it again would write to a store that may be damaged.
const FROM_THE_START: &str = "PRAGMA auto_vacuum = INCREMENTAL";

/// Opens for a daemon.
pub(super) fn writer(path: &Path, options: Options) -> Result<Db, StoreError> {
    let lock = lock(path)?;
    let mut reserve = Reserve::beside(path, options.reserve);
    if !path.try_exists().map_err(|error| failed(path, &error))? {
        create(path, &options)?;
    }
    let conn = match checked(path) {
        // Opening may have to recover the log, which takes room.
        Err(StoreError::Full(_) | StoreError::Failed(_)) if reserve.disk_is_full() && reserve.free() => checked(path)?,
        other => other?,
    };
    let full = !reserve.make().map_err(|error| failed(path, &error))?;
    Ok(Db {
        conn,
        path: Some(path.to_owned()),
        options,
        reserve: Some(reserve),
        full,
        read_only: false,
        session: None,
        damage: None,
        _lock: Some(lock),
    })
}

/// Opens for reading, with or without a daemon at work.
pub(super) fn reader(path: &Path) -> Result<Db, StoreError> {
    if !path.try_exists().map_err(|error| failed(path, &error))? {
        return Err(StoreError::Failed(format!("{}: there is no store", path.display())));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| named(path, error.into()))?;
    let found = identify(path, &conn)?;
    if found < schema::VERSION {
        return Err(StoreError::Failed(format!(
            "{}: it has schema {found}, older than this skala's {}; starting the daemon brings it up to date",
            path.display(),
            schema::VERSION
        )));
    }
    Ok(of(conn, Some(path.to_owned()), Options::new(""), true))
}

/// A store that lives in memory.
pub(super) fn without_file(options: Options) -> Result<Db, StoreError> {
    let mut conn = Connection::open_in_memory()?;
    conn.execute_batch(FROM_THE_START)?;
    settle(&mut conn)?;
    schema::migrate(&mut conn)?;
    name_it(&conn, &options.new_id)?;
    Ok(of(conn, None, options, false))
}

fn of(conn: Connection, path: Option<PathBuf>, options: Options, read_only: bool) -> Db {
    Db { conn, path, options, reserve: None, full: false, read_only, session: None, damage: None, _lock: None }
}

/// Takes the lock file, which stays: removing it would let two daemons lock two files of one name.
fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = beside(path, ".lock");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
    let mut file = file.map_err(|error| failed(&lock_path, &error))?;
    match patient_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            // Only to name it; without it the message is less helpful, not wrong.
            let _ = file.read_to_string(&mut by);
            return Err(StoreError::Owned(format!(
                "{} is open in another skala (process {}); stop that one first, or give this one a [store] url of its own",
                path.display(),
                by.trim()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(&lock_path, &error)),
    }
    let note = |file: &mut File| -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    // The lock counts, not its text, which a full disk may refuse.
    let _ = note(&mut file);
    Ok(file)
}

/// A process that was started while a daemon died holds its files for the moment between fork and exec.
#[expect(clippy::disallowed_methods, reason = "a start waits for the kernel, before there is a runtime to wait with")]
fn patient_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            done => return done,
        }
    }
    file.try_lock()
}

/// Makes a store under another name first, so that a crash leaves a whole one or none.
fn create(path: &Path, options: &Options) -> Result<(), StoreError> {
    let draft = beside(path, ".new");
    for left in [draft.clone(), beside(&draft, "-wal"), beside(&draft, "-shm")] {
        match std::fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&left, &error)),
            _ => {}
        }
    }
    let make =
        || -> io::Result<()> { OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map(drop) };
    make().map_err(|error| failed(&draft, &error))?;
    let mut conn = Connection::open(&draft)?;
    conn.execute_batch(FROM_THE_START)?;
    settle(&mut conn)?;
    schema::migrate(&mut conn)?;
    name_it(&conn, &options.new_id)?;
    conn.close().map_err(|(_, error)| StoreError::from(error))?;
    let publish = || -> io::Result<()> {
        File::open(&draft)?.sync_all()?;
        std::fs::rename(&draft, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    publish().map_err(|error| failed(path, &error))
}

fn name_it(conn: &Connection, id: &str) -> Result<(), StoreError> {
    conn.execute("INSERT INTO meta (key, value) VALUES ('store_id', ?1)", [id])?;
    Ok(())
}

/// Opens an existing file, checks it and brings it to this schema.
fn checked(path: &Path) -> Result<Connection, StoreError> {
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|error| failed(path, &error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(|error| named(path, error.into()))?;
    identify(path, &conn)?;
    settle(&mut conn).and_then(|()| schema::migrate(&mut conn)).map_err(|error| named(path, error))?;
    let bytes = std::fs::metadata(path).map_or(u64::MAX, |meta| meta.len());
    quick_check(&conn, bytes < CHECK_ALL_BELOW).map_err(|error| named(path, error))?;
    Ok(conn)
}

/// The schema of a file that is a store; everything else that may lie there is refused.
fn identify(path: &Path, conn: &Connection) -> Result<u32, StoreError> {
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    if bytes == 0 {
        // We never leave an empty file, so somebody or a broken disk has cut it.
        return Err(corrupt(Some(path), "the file is empty"));
    }
    let id = conn.query_row("PRAGMA application_id", [], |row| row.get::<_, u32>(0));
    let id = id.map_err(|error| named(path, error.into()))?;
    if id != schema::APPLICATION_ID {
        return Err(corrupt(Some(path), "it is a SQLite database, but not a store of skala"));
    }
    match schema::version(conn).map_err(|error| named(path, error))? {
        0 => Err(corrupt(Some(path), "it has no schema")),
        found if found > schema::VERSION => Err(StoreError::Newer { found, known: schema::VERSION }),
        found => Ok(found),
    }
}

/// Sets what SQLite does not keep in the file, and the log, which it does. The log is moved into the database at 16 MiB
/// instead of 4: memories are written again and again, and only the last one in the log is moved.
fn settle(conn: &mut Connection) -> Result<(), StoreError> {
    conn.set_prepared_statement_cache_capacity(64);
    conn.execute_batch(
        "PRAGMA busy_timeout = 5000;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -4096;
         PRAGMA wal_autocheckpoint = 4096;
         PRAGMA journal_size_limit = 16777216;",
    )?;
    Ok(())
}

fn quick_check(conn: &Connection, all: bool) -> Result<(), StoreError> {
    let check = |sql: &str| -> Result<(), StoreError> {
        let found: String = conn.query_row(sql, [], |row| row.get(0))?;
        if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt(found)) }
    };
    if all {
        return check("PRAGMA quick_check(1)");
    }
    ESSENTIAL.iter().try_for_each(|table| check(&format!("PRAGMA quick_check({table})")))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// An error that says which file, with the way out for a damaged one.
fn named(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(what) => corrupt(Some(path), &what),
        StoreError::Failed(what) => StoreError::Failed(format!("{}: {what}", path.display())),
        StoreError::Full(what) => StoreError::Full(format!("{}: {what}", path.display())),
        other => other,
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(text),
        io::ErrorKind::NotFound => StoreError::Failed(format!("{text}; its directory has to exist")),
        _ => StoreError::Failed(text),
    }
}
