//! Writes a setting where it stands in a policy file, and where it does not stand yet into the fleet's own tables: what
//! others inherit is left alone. Every other byte of the file is kept.

use policies::policy::{Entry, Findings, Node, SourceFile, Table, Value, read_toml};

/// The table that a setting belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The rule of this name.
    Rule(Box<str>),
    /// `scale_in`.
    ScaleIn,
}

/// Which part of a key's value the setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    /// All of it.
    Whole,
    /// `in` of a table.
    In,
    /// `percent` of the first table of a list.
    Percent,
}

/// A setting's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub owner: Owner,
    pub key: &'static str,
    pub leaf: Leaf,
}

/// A value as TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The setting alone.
    pub part: String,
    /// The key's whole value.
    pub whole: String,
}

/// Where a fleet is written: indices of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    fleet: Box<str>,
    /// The fleet's own file.
    own: usize,
    /// All files that say something of it, its own among them.
    pub files: Vec<usize>,
}

/// Where a setting's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// File and line in the fleet's own tables.
    Own(usize, usize),
    /// A template or `[defaults]`.
    Inherited,
    /// Nobody says it.
    Default,
}

impl Home {
    /// Finds a fleet's file, its template's and that of `[defaults]`.
    pub fn find(files: &[SourceFile], fleet: &str) -> Option<Self> {
        let findings = Findings::new(files);
        let roots: Vec<Table> = (0..files.len()).map(|file| read_toml(&findings, index(file))).collect();
        let named = |kind: &str, name: &str| {
            roots.iter().position(|root| root.get(kind).and_then(|of| of.node.table()?.get(name)).is_some())
        };
        let own = named("fleet", fleet)?;
        let extends = table(&roots[own], "fleet", fleet).and_then(|own| own.get("extends")?.node.text().cloned());
        let template = extends.and_then(|template| named("template", &template));
        let defaults = roots.iter().position(|root| root.get("defaults").is_some());
        let mut all: Vec<usize> = [Some(own), template, defaults].into_iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        Some(Self { fleet: fleet.into(), own, files: all })
    }

    /// The same when only its own files are kept, in their order.
    pub fn alone(&self) -> Self {
        let own = self.files.iter().position(|file| *file == self.own).unwrap_or(0);
        Self { fleet: self.fleet.clone(), own, files: (0..self.files.len()).collect() }
    }

    /// Where a setting's value comes from.
    pub fn origin(&self, files: &[SourceFile], spot: &Spot) -> Origin {
        let findings = Findings::new(files);
        let roots: Vec<Table> = self.files.iter().map(|file| read_toml(&findings, index(*file))).collect();
        let at = self.files.iter().position(|file| *file == self.own).unwrap_or(0);
        let Some(own) = roots.get(at).and_then(|root| table(root, "fleet", &self.fleet)) else {
            return Origin::Default;
        };
        if let Some(entry) = self.owner(own, &spot.owner, own).and_then(|owner| owner.table()?.get(spot.key)) {
            let text = &files[self.own].text;
            let line = text[..byte(entry.at.start)].matches('\n').count() + 1;
            return Origin::Own(self.own, line);
        }
        let template = own.get("extends").and_then(|entry| entry.node.text());
        let below = roots.iter().flat_map(|root| {
            let template = template.and_then(|name| table(root, "template", name));
            [template, root.get("defaults").and_then(|entry| entry.node.table())].into_iter().flatten()
        });
        let mut owners = below.filter_map(|layer| self.owner(layer, &spot.owner, own)?.table());
        if owners.any(|owner| owner.get(spot.key).is_some()) { Origin::Inherited } else { Origin::Default }
    }

    /// Writes one setting.
    ///
    /// # Errors
    /// When the file is written in a way that leaves no place for it. Whether what was written reads as it should is for
    /// the caller to check: by reading it.
    pub fn set(&self, files: &mut [SourceFile], spot: &Spot, written: &Written) -> Result<(), &'static str> {
        let (from, to, text) = self.edit(files, spot, written)?;
        files[self.own].text.replace_range(from..to, &text);
        Ok(())
    }

    fn edit(
        &self,
        files: &[SourceFile],
        spot: &Spot,
        written: &Written,
    ) -> Result<(usize, usize, String), &'static str> {
        let findings = Findings::new(files);
        let root = read_toml(&findings, index(self.own));
        let text = files[self.own].text.as_str();
        let own = table(&root, "fleet", &self.fleet).ok_or("the fleet has no table of its own")?;
        let Some(owner) = self.owner(own, &spot.owner, own) else { return self.new_table(files, own, spot, written) };
        let inner = owner.table().ok_or("it is not a table")?;
        let Some(entry) = inner.get(spot.key) else {
            return insert(text, owner, inner, &format!("{} = {}", spot.key, written.whole));
        };
        let leaf = match spot.leaf {
            Leaf::Whole => Some(&entry.node),
            Leaf::In => entry.node.table().and_then(|table| Some(&table.get("in")?.node)),
            Leaf::Percent => list(&entry.node).first().and_then(|rate| Some(&rate.table()?.get("percent")?.node)),
        };
        let (node, value) = match leaf {
            Some(leaf) => (leaf, &written.part),
            None => (&entry.node, &written.whole),
        };
        let (from, to) = (byte(node.at.start), byte(node.at.end));
        // A table of several lines or dotted keys is not one stretch of text.
        if node.table().is_some() && !text[from..].starts_with('{') {
            return Err("it is a table of several statements");
        }
        let spaces = text[to..].len() - text[to..].trim_start_matches(' ').len();
        if spaces < 2 || !text[to + spaces..].starts_with('#') {
            return Ok((from, to, value.clone()));
        }
        // A comment stays in its column as far as there is room.
        let kept = (spaces + to - from).saturating_sub(value.len()).max(1);
        Ok((from, to + spaces, format!("{value}{}", " ".repeat(kept))))
    }

    /// The rule or `scale_in` of a table; names are compared with the fleet's put in.
    fn owner<'t>(&self, table: &'t Table, owner: &Owner, own: &Table) -> Option<&'t Node> {
        match owner {
            Owner::ScaleIn => Some(&table.get("scale_in")?.node),
            Owner::Rule(name) => {
                let named =
                    |rule: &&Node| self.rule_name(rule, own).is_some_and(|(_, _, known)| known == name.as_ref());
                list(&table.get("rule")?.node).iter().find(named)
            }
        }
    }

    /// The key that names a rule, the name as it is written, and as it is read.
    fn rule_name<'t>(&self, rule: &'t Node, own: &Table) -> Option<(&'static str, &'t str, String)> {
        let inner = rule.table()?;
        let entry = |key: &'static str| Some((key, inner.get(key)?.node.text()?.as_ref()));
        let (key, raw) = entry("name").or_else(|| entry("kind"))?;
        let mut name = raw.replace("{fleet}", &self.fleet);
        let group = own.get("group").and_then(|groups| list(&groups.node).first()?.table()?.get("group")?.node.text());
        if let Some(group) = group {
            name = name.replace("{group}", group);
        }
        Some((key, raw, name))
    }

    /// A rule or `scale_in` of the fleet's own, with this one key: the rest stays inherited.
    fn new_table(
        &self,
        files: &[SourceFile],
        own: &Table,
        spot: &Spot,
        written: &Written,
    ) -> Result<(usize, usize, String), &'static str> {
        let text = files[self.own].text.as_str();
        let setting = format!("{} = {}", spot.key, written.whole);
        let (header, lines) = match &spot.owner {
            Owner::ScaleIn => (format!("[fleet.{}.scale_in]", key_text(&self.fleet)), vec![setting]),
            Owner::Rule(name) => {
                let (key, raw) = self.below(files, own, name).ok_or("no table says the rule")?;
                let named = format!("{key} = {}", quoted(&raw));
                if let Some(entry) = own.get("rule").filter(|entry| !is_headed(text, &entry.node)) {
                    let last = list(&entry.node).last().ok_or("the list of rules is empty")?;
                    let at = byte(last.at.end);
                    return Ok((at, at, format!(", {{ {named}, {setting} }}")));
                }
                (format!("[[fleet.{}.rule]]", key_text(&self.fleet)), vec![named, setting])
            }
        };
        let end = own.entries.iter().map(deep_end).max().unwrap_or(0);
        let newline = newline(text);
        let block = [vec![header], lines].concat().join(newline);
        Ok(below_line(text, end, &format!("{newline}{block}")))
    }

    /// How the rule of this name is named in the template or `[defaults]` that it comes from.
    fn below(&self, files: &[SourceFile], own: &Table, name: &str) -> Option<(&'static str, String)> {
        let findings = Findings::new(files);
        let roots: Vec<Table> = self.files.iter().map(|file| read_toml(&findings, index(*file))).collect();
        let template = own.get("extends").and_then(|entry| entry.node.text());
        let template = roots.iter().filter_map(|root| table(root, "template", template?));
        let defaults = roots.iter().filter_map(|root| root.get("defaults")?.node.table());
        let mut rules = template.chain(defaults).filter_map(|layer| layer.get("rule"));
        rules.find_map(|rules| {
            let mut named = list(&rules.node).iter().filter_map(|rule| self.rule_name(rule, own));
            named.find(|(_, _, known)| known == name).map(|(key, raw, _)| (key, raw.to_owned()))
        })
    }
}

fn table<'t>(root: &'t Table, kind: &str, name: &str) -> Option<&'t Table> {
    root.get(kind)?.node.table()?.get(name)?.node.table()
}

fn list(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => &[],
    }
}

fn index(file: usize) -> u32 {
    u32::try_from(file).unwrap_or(u32::MAX)
}

fn byte(at: u32) -> usize {
    at as usize
}

/// Whether it stands below a header of its own, not in a statement.
fn is_headed(text: &str, node: &Node) -> bool {
    let opens = |node: &Node| text.as_bytes().get(byte(node.at.start)) == Some(&b'[');
    match &node.value {
        Value::Table(_) => opens(node),
        Value::List(items) => items.first().is_some_and(|item| item.table().is_some() && opens(item)),
        _ => false,
    }
}

/// The end of everything in an entry, headers included.
fn deep_end(entry: &Entry) -> usize {
    fn of(node: &Node) -> usize {
        let own = byte(node.at.end);
        match &node.value {
            Value::Table(table) => table.entries.iter().map(deep_end).max().unwrap_or(0).max(own),
            Value::List(items) => items.iter().map(of).max().unwrap_or(0).max(own),
            _ => own,
        }
    }
    of(&entry.node)
}

/// Puts a statement into a table that is there, after its last one.
fn insert(text: &str, owner: &Node, inner: &Table, statement: &str) -> Result<(usize, usize, String), &'static str> {
    let own = || inner.entries.iter().filter(|entry| !is_headed(text, &entry.node));
    let last = own().map(deep_end).max();
    match text.as_bytes().get(byte(owner.at.start)) {
        Some(b'{') => {
            let at = last.ok_or("its table is empty")?;
            Ok((at, at, format!(", {statement}")))
        }
        Some(b'[') => {
            let first = own().map(|entry| byte(entry.at.start)).min();
            let indent = first.map_or("", |at| line_before(text, at));
            let indent = if indent.trim().is_empty() { indent } else { "" };
            Ok(below_line(text, last.unwrap_or(byte(owner.at.end)), &format!("{indent}{statement}")))
        }
        // Dotted keys: the new one begins as the others do.
        _ => {
            let first = own().min_by_key(|entry| entry.at.start).ok_or("its table is empty")?;
            let begin = line_before(text, byte(first.at.start));
            Ok(below_line(text, last.unwrap_or(0), &format!("{begin}{statement}")))
        }
    }
}

/// What stands on the line before a byte.
fn line_before(text: &str, at: usize) -> &str {
    &text[text[..at].rfind('\n').map_or(0, |newline| newline + 1)..at]
}

/// An edit that adds lines below the line of a byte.
fn below_line(text: &str, at: usize, lines: &str) -> (usize, usize, String) {
    let newline = newline(text);
    match text[at..].find('\n') {
        Some(end) => (at + end + 1, at + end + 1, format!("{lines}{newline}")),
        None => (text.len(), text.len(), format!("{newline}{lines}")),
    }
}

fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// A name as a part of a TOML key.
fn key_text(name: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// Text in quotes; names have neither quotes nor control characters.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use policies::policy::{ParseOptions, parse};

    const HEAD: &str = "[fleet.web]\nmode = \"on\"\nmin = 1\nmax = 9\n[[fleet.web.group]]\nprovider = \"a\"\n\
        group = \"g\"\n[fleet.web.metric.rps]\nsource = \"s\"\nquery = \"q\"\n";

    fn file(text: &str) -> Vec<SourceFile> {
        vec![SourceFile { name: "web.toml".into(), text: text.into() }]
    }

    /// Sets `target` of the rule `r` to 7, `tolerance.in` to 0.3 or `scale_in.rate` to 5 %, and gives what was added and
    /// taken away; the result is always a policy.
    fn set(what: &str, text: &str) -> Result<String, &'static str> {
        let (spot, part, whole) = match what {
            "target" => (spot(Owner::Rule("r".into()), "target", Leaf::Whole), "7", "7"),
            "in" => (spot(Owner::Rule("r".into()), "tolerance", Leaf::In), "0.3", "{ out = 0, in = 0.3 }"),
            _ => (spot(Owner::ScaleIn, "rate", Leaf::Percent), "\"5%\"", "[{ percent = \"5%\", per = \"1m\" }]"),
        };
        let mut files = file(text);
        let home = Home::find(&files, "web").expect("the fleet");
        home.set(&mut files, &spot, &Written { part: part.into(), whole: whole.into() })?;
        let (_, found) = parse(&files, &ParseOptions::default());
        assert!(found.is_empty(), "{found:?}\n{}", files[0].text);
        Ok(super::super::diff::unified(&file(text)[0], &files[0])
            .lines()
            .skip(2)
            .filter(changed)
            .collect::<Vec<_>>()
            .join("\n"))
    }

    fn changed(line: &&str) -> bool {
        line.starts_with(['+', '-'])
    }

    fn spot(owner: Owner, key: &'static str, leaf: Leaf) -> Spot {
        Spot { owner, key, leaf }
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        let rule = |keys: &str| {
            format!("{HEAD}[[fleet.web.rule]]\nname = \"r\"\nkind = \"per-instance\"\nmetric = \"rps\"\n{keys}\n")
        };
        for (what, keys, expected) in [
            ("target", "target = 10    # each", "-target = 10    # each\n+target = 7     # each"),
            ("target", "target = 10 # per second", "-target = 10 # per second\n+target = 7 # per second"),
            (
                "in",
                "target = 10\ntolerance = { in = 0.1, out = 0.2 }",
                "-tolerance = { in = 0.1, out = 0.2 }\n+tolerance = { in = 0.3, out = 0.2 }",
            ),
            ("in", "target = 10\ntolerance = 0.1", "-tolerance = 0.1\n+tolerance = { out = 0, in = 0.3 }"),
            ("in", "target = 10\ntolerance.in = 0.1", "-tolerance.in = 0.1\n+tolerance.in = 0.3"),
            ("in", "target = 10\n[fleet.web.rule.tolerance]\nin = 0.1", "-in = 0.1\n+in = 0.3"),
            (
                "in",
                "target = 10\ntolerance = { out = 0.2 }",
                "-tolerance = { out = 0.2 }\n+tolerance = { out = 0, in = 0.3 }",
            ),
            (
                "rate",
                "target = 10\n[fleet.web.scale_in]\nrate = [{ percent = \"10%\", per = \"2m\" }]",
                "-rate = [{ percent = \"10%\", per = \"2m\" }]\n+rate = [{ percent = \"5%\", per = \"2m\" }]",
            ),
        ] {
            assert_eq!(set(what, &rule(keys)).as_deref(), Ok(expected), "{keys}");
        }
    }

    #[test]
    fn what_is_not_there_is_added_to_its_table() {
        let rule = |keys: &str| {
            format!(
                "{HEAD}[[fleet.web.rule]]\n  name = \"r\"\n  kind = \"per-instance\"\n  metric = \"rps\"\n  target = 1 # each\n{keys}"
            )
        };
        let tolerance = "+  tolerance = { out = 0, in = 0.3 }";
        for (what, keys, expected) in [
            ("in", "", tolerance),
            (
                "in",
                "# the end\n[[test]]\nname = \"x\"\nfleet = \"web\"\n[[test.cycle]]\nat = \"0s\"\ncurrent = 1\nreadings = { rps = 1 }\ndesired = 1\n",
                tolerance,
            ),
            ("rate", "", "+\n+[fleet.web.scale_in]\n+rate = [{ percent = \"5%\", per = \"1m\" }]"),
            ("rate", "[fleet.web.scale_in] # fast\n", "+rate = [{ percent = \"5%\", per = \"1m\" }]"),
            ("rate", "[fleet.web.scale_in]\ncooldown = \"1s\"\n", "+rate = [{ percent = \"5%\", per = \"1m\" }]"),
        ] {
            assert_eq!(set(what, &rule(keys)).as_deref(), Ok(expected), "{keys}");
        }
        let dotted = HEAD.replace("max = 9\n", "max = 9\nscale_in.cooldown = \"1s\"\n");
        let rules = "rule = [{ name = \"r\", kind = \"per-instance\", metric = \"rps\", target = 1 }]\n";
        let inline = HEAD.replace("max = 9\n", &format!("max = 9\n{rules}scale_in = {{ cooldown = \"1s\" }}\n"));
        for (what, text, expected) in [
            ("rate", dotted.clone() + &rule("")[HEAD.len()..], "+scale_in.rate = [{ percent = \"5%\", per = \"1m\" }]".into()),
            ("rate", inline.clone(), "-scale_in = { cooldown = \"1s\" }\n+scale_in = { cooldown = \"1s\", rate = [{ percent = \"5%\", per = \"1m\" }] }".into()),
            ("in", inline, format!("-{}\n+{}, tolerance = {{ out = 0, in = 0.3 }} }}]", rules.trim(), rules.trim().trim_end_matches(" }]"))),
        ] {
            assert_eq!(set(what, &text), Ok(expected), "{text}");
        }
        // Neither a missing end of line nor Windows' is changed.
        let bare = rule("").trim_end().to_owned();
        assert_eq!(
            set("in", &bare).as_deref(),
            Ok(format!("-  target = 1 # each\n+  target = 1 # each\n{tolerance}").as_str())
        );
        let windows = rule("").replace('\n', "\r\n");
        assert_eq!(set("in", &windows).as_deref(), Ok(tolerance));
    }

    #[test]
    fn what_is_inherited_is_overridden_not_changed() {
        let template =
            "[template.t]\n[[template.t.rule]]\nname = \"r\"\nkind = \"per-instance\"\nmetric = \"rps\"\ntarget = 1\n";
        let extends = HEAD.replace("max = 9\n", "max = 9\nextends = \"t\"\n");
        let added = "+\n+[[fleet.web.rule]]\n+name = \"r\"\n+target = 7";
        assert_eq!(set("target", &format!("{template}{extends}")).as_deref(), Ok(added));
        assert_eq!(set("target", &format!("{extends}{template}")).as_deref(), Ok(added));
        let defaults = template.replace("template.t]\n", "defaults]\n").replace("template.t.rule", "defaults.rule");
        assert_eq!(set("target", &format!("{defaults}{HEAD}")).as_deref(), Ok(added));
        let by_kind = template.replace("\"r\"", "\"{fleet}-r\"");
        let mut files = file(&format!("{by_kind}{extends}"));
        let home = Home::find(&files, "web").unwrap();
        let spot = spot(Owner::Rule("web-r".into()), "target", Leaf::Whole);
        assert_eq!(home.origin(&files, &spot), Origin::Inherited);
        home.set(&mut files, &spot, &Written { part: "7".into(), whole: "7".into() }).unwrap();
        assert!(files[0].text.ends_with("[[fleet.web.rule]]\nname = \"{fleet}-r\"\ntarget = 7\n"), "{}", files[0].text);
        let target = files[0].text.lines().count();
        assert_eq!(home.origin(&files, &spot), Origin::Own(0, target));
    }
}
