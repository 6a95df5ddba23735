//! `skala decide`: the pure core as a filter. One line in, one line out; nothing is observed and nothing is changed.

use super::{Exit, Out};
use anyhow::Context;
use policies::wire::Decider;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A longer line is refused and skipped: ten thousand instances fit in it.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Read at a time; many lines fit, so that output is written in large pieces when input comes in large pieces.
const READ_BYTES: usize = 256 * 1024;

/// Decide from JSON lines on standard input: one line is one cycle of one fleet
#[derive(Debug, clap::Args)]
pub struct Decide {
    /// The directory of the policies
    #[arg(long, value_name = "DIR")]
    policies: PathBuf,
    /// Memory to go on from; saved after every line
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,
}

impl Decide {
    /// Answers lines until there are no more.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let mut decider = Decider::new(super::policies_of(&self.policies)?);
        let memory = self.memory.map(Memory::new);
        if let Some(memory) = &memory {
            memory.load(&mut decider)?;
            decider.keep_answers();
        }
        let mut text = String::new();
        let mut answer = |line: &[u8], out: &mut Out| -> anyhow::Result<()> {
            let answered = match std::str::from_utf8(line) {
                Ok(line) => decider.line_into(line, &mut text),
                Err(error) => {
                    text = refusal(&format!("byte {} is not UTF-8", error.valid_up_to() + 1));
                    true
                }
            };
            // Saved before it is answered: whoever has seen an answer finds its memory after a crash.
            if let Some(memory) = &memory {
                memory.save(&mut decider)?;
            }
            if answered {
                text.push('\n');
                out.write_all(text.as_bytes())?;
            }
            Ok(())
        };
        lines(&mut io::stdin().lock(), out, &mut answer)?;
        Ok(Exit::Ok)
    }
}

fn refusal(text: &str) -> String {
    serde_json::json!({ "error": text }).to_string()
}

/// Hands every line to `answer`, and flushes whenever no further complete line is waiting. The last line need not end
/// with a line feed.
fn lines<R: Read, W: Write>(
    input: &mut R,
    out: &mut W,
    answer: &mut impl FnMut(&[u8], &mut W) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let (mut begin, mut end, mut searched) = (0, 0, 0);
    let mut skipping = false;
    loop {
        if let Some(at) = buffer[searched..end].iter().position(|byte| *byte == b'\n') {
            let line = begin..searched + at;
            (begin, searched) = (line.end + 1, line.end + 1);
            if std::mem::take(&mut skipping) {
                continue;
            }
            if line.len() > LINE_BYTES_MAX {
                too_long(out)?
            } else {
                answer(&buffer[line], out)?
            }
            continue;
        }
        if skipping {
            begin = end;
        } else if end - begin > LINE_BYTES_MAX {
            (skipping, begin) = (true, end);
            too_long(out)?;
        }
        out.flush()?;
        buffer.copy_within(begin..end, 0);
        (begin, end) = (0, end - begin);
        searched = end;
        if end == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        match input.read(&mut buffer[end..]) {
            Ok(0) => break,
            Ok(read) => end += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read standard input"),
        }
    }
    if end > 0 && !skipping {
        answer(&buffer[..end], out)?;
    }
    Ok(out.flush()?)
}

fn too_long(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", refusal(&format!("the line is longer than {LINE_BYTES_MAX} bytes")))
}

/// The file of `--memory`. Replaced whole by a rename, so a kill leaves the old or the new one; it is not synced to the
/// disk at each line, so a power cut may leave an older one.
struct Memory {
    path: PathBuf,
    draft: PathBuf,
}

impl Memory {
    fn new(path: PathBuf) -> Self {
        let mut draft = path.clone().into_os_string();
        draft.push(".new");
        Self { path, draft: draft.into() }
    }

    fn load(&self, decider: &mut Decider) -> anyhow::Result<()> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        };
        decider.load(&text).with_context(|| format!("{} is no memory", self.path.display()))
    }

    fn save(&self, decider: &mut Decider) -> anyhow::Result<()> {
        let text = decider.save();
        replace(&self.path, &self.draft, &text).with_context(|| format!("cannot save {}", self.path.display()))
    }
}

fn replace(path: &Path, draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its pieces one read at a time, and notes what had been flushed when the next one was asked for.
    struct Pieces<'a> {
        pieces: std::vec::IntoIter<Vec<u8>>,
        rest: Vec<u8>,
        flushed: &'a std::cell::RefCell<Vec<String>>,
        out: &'a std::cell::RefCell<Vec<u8>>,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.flushed.borrow_mut().push(String::from_utf8_lossy(&self.out.borrow()).into_owned());
            if self.rest.is_empty() {
                self.rest = self.pieces.next().unwrap_or_default();
            }
            let fits = self.rest.len().min(to.len());
            to[..fits].copy_from_slice(&self.rest[..fits]);
            self.rest.drain(..fits);
            Ok(fits)
        }
    }

    /// Shows only what was flushed.
    struct Flushed<'a>(Vec<u8>, &'a std::cell::RefCell<Vec<u8>>);

    impl Write for Flushed<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            self.1.borrow_mut().append(&mut self.0);
            Ok(())
        }
    }

    fn run(pieces: &[&[u8]]) -> (String, Vec<String>) {
        let (out, flushed) = Default::default();
        let pieces: Vec<Vec<u8>> = pieces.iter().flat_map(|p| p.chunks(1000)).map(<[u8]>::to_vec).collect();
        let mut input = Pieces { pieces: pieces.into_iter(), rest: Vec::new(), flushed: &flushed, out: &out };
        let mut answer = |line: &[u8], out: &mut Flushed<'_>| {
            writeln!(out, "{}:{}", line.len(), String::from_utf8_lossy(&line[..line.len().min(3)]))?;
            Ok(())
        };
        lines(&mut input, &mut Flushed(Vec::new(), &out), &mut answer).unwrap();
        (String::from_utf8(out.take()).unwrap(), flushed.take())
    }

    #[test]
    fn every_line_is_answered_however_it_arrives() {
        for pieces in [&[b"abc\nde\n\nf".as_slice()][..], &[b"a", b"bc\nd", b"e\n\n", b"f"], &[b"abc\nde\n\nf"]] {
            assert_eq!(run(pieces).0, "3:abc\n2:de\n0:\n1:f\n", "{pieces:?}");
        }
        assert_eq!(run(&[]).0, "");
        assert_eq!(run(&[b"a\n"]).0, "1:a\n");
    }

    #[test]
    fn output_is_flushed_before_waiting_for_more() {
        let (_, flushed) = run(&[b"a\nb\nc", b"d\n"]);
        assert_eq!(flushed, ["", "1:a\n1:b\n", "1:a\n1:b\n2:cd\n"]);
    }

    #[test]
    fn a_line_without_end_is_refused_once_and_skipped() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let (text, flushed) = run(&[b"a\n", &long, &long, b"x\nb\n"]);
        let refused = refusal("the line is longer than 1048576 bytes");
        assert_eq!(text, format!("1:a\n{refused}\n1:b\n"));
        assert!(flushed.iter().any(|text| text.ends_with(&format!("{refused}\n"))), "refused before it has ended");
        let fits = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(run(&[&fits, b"\n"]).0, "1048576:xxx\n");
        assert_eq!(run(&[&long]).0, format!("{refused}\n"));
    }
}
