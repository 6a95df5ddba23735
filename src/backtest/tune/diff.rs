//! Unified diffs, as `git apply` and `patch -p1` take them.

use policies::policy::SourceFile;
use similar::TextDiff;

/// The diff from one text of a file to another; empty when they are the same.
pub(super) fn unified(old: &SourceFile, new: &SourceFile) -> String {
    let name = old.name.trim_start_matches("./").trim_start_matches('/');
    // A name with spaces ends at a tab.
    let end = if name.contains(' ') { "\t" } else { "" };
    let lines = TextDiff::from_lines(&*old.text, &*new.text);
    lines.unified_diff().header(&format!("a/{name}{end}"), &format!("b/{name}{end}")).to_string()
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
        let expected = "@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n\\ No newline at end of file\n";
        assert!(diff("a", "a\nb").ends_with(expected), "{}", diff("a", "a\nb"));
        assert!(diff("", "a\n").ends_with("@@ -0,0 +1 @@\n+a\n"), "{}", diff("", "a\n"));
    }
}
