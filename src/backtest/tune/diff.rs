//! Unified diffs, as `git apply` and `patch -p1` take them.

use policies::policy::SourceFile;
use std::fmt::Write;

/// Lines around a change.
const CONTEXT: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The diff from one text of a file to another; empty when they are the same.
pub(super) fn unified(old: &SourceFile, new: &SourceFile) -> String {
    let lines = compare(&split(&old.text), &split(&new.text));
    let changed: Vec<usize> = (0..lines.len()).filter(|at| !matches!(lines[*at], Line::Same(_))).collect();
    let mut text = String::new();
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        if text.is_empty() {
            let name = old.name.trim_start_matches("./").trim_start_matches('/');
            // A name with spaces ends at a tab.
            let end = if name.contains(' ') { "\t" } else { "" };
            // Writing into a String has no way to fail.
            let _ = writeln!(text, "--- a/{name}{end}\n+++ b/{name}{end}");
        }
        // Changes whose surroundings touch are one hunk.
        let apart = |pair: &[usize]| pair[1] - pair[0] > 2 * CONTEXT + 1;
        let count = rest.windows(2).position(apart).map_or(rest.len(), |at| at + 1);
        let from = first.saturating_sub(CONTEXT);
        let to = (rest[count - 1] + CONTEXT + 1).min(lines.len());
        hunk(&mut text, &lines, from, to);
        rest = &rest[count..];
    }
    text
}

fn hunk(text: &mut String, lines: &[Line<'_>], from: usize, to: usize) {
    let count = |lines: &[Line<'_>], old: bool| {
        let here = |line: &&Line<'_>| !matches!((line, old), (Line::New(_), true) | (Line::Old(_), false));
        lines.iter().filter(here).count()
    };
    let range = |old: bool| {
        let (before, here) = (count(&lines[..from], old), count(&lines[from..to], old));
        format!("{},{here}", if here == 0 { before } else { before + 1 })
    };
    let _ = writeln!(text, "@@ -{} +{} @@", range(true), range(false));
    for line in &lines[from..to] {
        let (mark, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Old(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        let _ = write!(text, "{mark}{line}");
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// Lines with their ends.
fn split(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Aligns two texts by looking for the nearest lines that are the same again: exact, and small where little changed.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let (mut lines, mut i, mut j) = (Vec::new(), 0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (left, right) = (old.len() - i, new.len() - j);
        let again = (1..left + right).find_map(|apart| {
            (0..=apart)
                .map(|skip| (skip, apart - skip))
                .find(|(skip, add)| i + skip < old.len() && j + add < new.len() && old[i + skip] == new[j + add])
        });
        let (skip, add) = again.unwrap_or((left, right));
        lines.extend(old[i..i + skip].iter().map(|line| Line::Old(line)));
        lines.extend(new[j..j + add].iter().map(|line| Line::New(line)));
        (i, j) = (i + skip, j + add);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: &str, new: &str) -> String {
        let file = |text: &str| SourceFile { name: "./policies/web.toml".into(), text: text.into() };
        unified(&file(old), &file(new))
    }

    #[test]
    fn hunks_are_counted_and_kept_apart() {
        let old: String = (1..=20).map(|line| format!("{line}\n")).collect();
        assert_eq!(diff(&old, &old), "");
        let new = old.replace("\n3\n", "\nthree\n").replace("\n18\n", "\n18\n18a\n");
        let expected = "--- a/policies/web.toml\n+++ b/policies/web.toml\n@@ -1,6 +1,6 @@\n 1\n 2\n-3\n+three\n 4\n 5\n 6\n\
            @@ -16,5 +16,6 @@\n 16\n 17\n 18\n+18a\n 19\n 20\n";
        assert_eq!(diff(&old, &new), expected);
        let near = old.replace("\n3\n", "\nthree\n").replace("\n10\n", "\nten\n");
        assert_eq!(diff(&old, &near).matches("@@ -").count(), 1, "six lines between them");
        let far = old.replace("\n3\n", "\nthree\n").replace("\n11\n", "\neleven\n");
        assert_eq!(diff(&old, &far).matches("@@ -").count(), 2, "seven lines between them");
    }

    #[test]
    fn a_last_line_without_an_end_is_told() {
        let expected = "@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n\\ No newline at end of file\n";
        assert!(diff("a", "a\nb").ends_with(expected), "{}", diff("a", "a\nb"));
        assert!(diff("", "a\n").ends_with("@@ -0,0 +1,1 @@\n+a\n"), "{}", diff("", "a\n"));
    }
}
