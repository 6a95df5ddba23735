//! `skala man`: the manual, one page with every command.

use super::{Exit, Out};
use std::io::Write;

/// Print the manual page, in roff: skala man | man -l -
#[derive(Debug, clap::Args)]
pub struct Man {}

impl Man {
    /// Prints the whole command's page, then each subcommand's.
    pub fn run(self, out: &mut Out) -> anyhow::Result<Exit> {
        let mut definition = super::definition();
        definition.build();
        clap_mangen::Man::new(definition.clone()).render(out)?;
        pages(&definition, "skala", out)?;
        Ok(Exit::Ok)
    }
}

/// The sections of the subcommands, without a page header of their own: man(1) shows them as one page.
fn pages(parent: &clap::Command, name: &str, out: &mut Out) -> anyhow::Result<()> {
    for command in parent.get_subcommands() {
        let full = format!("{name} {}", command.get_name());
        writeln!(out, ".SH \"{}\"", full.to_uppercase())?;
        if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
            writeln!(out, "{}", about.to_string().replace('\\', "\\\\").replace("\n.", "\n\\&."))?;
        }
        let page = clap_mangen::Man::new(command.clone().bin_name(full.clone()).disable_help_subcommand(true));
        let mut text = Vec::new();
        page.render_synopsis_section(&mut text)?;
        page.render_options_section(&mut text)?;
        // One level down: the sections of a subcommand are subsections of the page.
        out.write_all(String::from_utf8_lossy(&text).replace(".SH ", ".SS ").as_bytes())?;
        pages(command, &full, out)?;
    }
    Ok(())
}
