//! An instance's cloud-init seed: a CD with the label `cidata` that holds `meta-data`, `user-data` and, when there is one,
//! `network-config` (cloud-init's data source NoCloud). Written here, since a host need not have a tool for it.
//!
//! It is ISO 9660 as ECMA-119 has it, one folder and one extent a file, but for the files' names: those are the ones that
//! cloud-init looks for, lower case and hyphen included, which Linux, the BSDs and GRUB read as they stand.

use crate::member::escape;

/// A sector; everything begins with one.
const SECTOR: usize = 2048;
/// Sectors before the descriptors, which belong to the system.
const SYSTEM: usize = 16;
/// Where the root folder is: after two descriptors and two path tables.
const ROOT: usize = SYSTEM + 4;

/// What an instance's first boot is told, the same for all of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserData {
    pub user_data: Box<str>,
    pub network_config: Option<Box<str>>,
}

impl UserData {
    /// All of it, for a fingerprint.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.user_data), self.network_config.as_deref()].into_iter().flatten()
    }

    /// The CD for one instance.
    pub fn image(&self, name: &str) -> Vec<u8> {
        // The name is of letters, digits and . _ -, so it needs no quotes; the escape only makes sure of it.
        let name = escape(name);
        let meta_data = format!("instance-id: {name}\nlocal-hostname: {name}\n");
        let mut files: Vec<(&str, &[u8])> = vec![("meta-data", meta_data.as_bytes())];
        if let Some(config) = &self.network_config {
            files.push(("network-config", config.as_bytes()));
        }
        files.push(("user-data", self.user_data.as_bytes()));
        image("cidata", &files)
    }
}

/// A CD with these files, which have to be in the order of their names.
fn image(label: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut folder = record(&[0], ROOT, SECTOR, true);
    folder.extend(record(&[1], ROOT, SECTOR, true));
    let mut contents = Vec::new();
    for (name, content) in files {
        let at = ROOT + 1 + contents.len() / SECTOR;
        folder.extend(record(name.as_bytes(), at, content.len(), false));
        contents.extend_from_slice(content);
        pad(&mut contents);
    }
    let sectors = ROOT + 1 + contents.len() / SECTOR;
    let mut image = vec![0; SYSTEM * SECTOR];
    for part in [
        primary(label, sectors),
        terminator(),
        path_table(u32::to_le_bytes, u16::to_le_bytes),
        path_table(u32::to_be_bytes, u16::to_be_bytes),
        folder,
    ] {
        image.extend(part);
        pad(&mut image);
    }
    image.extend(contents);
    image
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
}

/// A number as the standard has it: first the small end first, then the great end first.
fn both(number: usize) -> [u8; 8] {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// One entry of a folder (ECMA-119, 9.1). It has no date: nobody asks a seed for its age.
fn record(name: &[u8], at: usize, length: usize, folder: bool) -> Vec<u8> {
    let mut entry = vec![0, 0];
    entry.extend(both(at));
    entry.extend(both(length));
    entry.extend([0; 7]);
    entry.push(if folder { 2 } else { 0 });
    entry.extend([0, 0]);
    entry.extend([1, 0, 0, 1]);
    entry.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    entry.extend_from_slice(name);
    if entry.len() % 2 == 1 {
        entry.push(0);
    }
    entry[0] = u8::try_from(entry.len()).unwrap_or(u8::MAX);
    entry
}

/// The primary volume descriptor (ECMA-119, 8.4).
fn primary(label: &str, sectors: usize) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(b"CD001\x01\0");
    bytes.extend([b' '; 32]);
    bytes.extend_from_slice(format!("{label:<32}").as_bytes());
    bytes.extend([0; 8]);
    bytes.extend(both(sectors));
    bytes.extend([0; 32]);
    // One volume, the first of one; sectors of 2048; a path table of ten bytes.
    bytes.extend([1, 0, 0, 1, 1, 0, 0, 1, 0, 8, 8, 0]);
    bytes.extend(both(10));
    bytes.extend((SYSTEM as u32 + 2).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((SYSTEM as u32 + 3).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(record(&[0], ROOT, SECTOR, true));
    // Set, publisher, preparer, application, and three files: nobody's.
    bytes.extend([b' '; 128 * 4 + 37 * 3]);
    for _ in 0..4 {
        bytes.extend_from_slice(b"0000000000000000\0");
    }
    bytes.push(1);
    bytes
}

/// The descriptors' end.
fn terminator() -> Vec<u8> {
    let mut bytes = vec![255];
    bytes.extend_from_slice(b"CD001\x01");
    bytes
}

/// The path table: the root folder alone.
fn path_table(long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    bytes.extend(long(ROOT as u32));
    bytes.extend(short(1));
    bytes.extend([0, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_holds_what_cloud_init_looks_for() {
        let data = UserData { user_data: "#cloud-config\n".into(), network_config: Some("version: 2\n".into()) };
        let image = data.image("web-1");
        assert_eq!(image.len() % SECTOR, 0);
        assert_eq!(&image[SYSTEM * SECTOR..][..6], b"\x01CD001");
        assert_eq!(&image[SYSTEM * SECTOR + 40..][..8], b"cidata  ");
        let sectors = image.len() / SECTOR;
        assert_eq!(&image[SYSTEM * SECTOR + 80..][..8], both(sectors));
        // Every file is where its entry says, with its length.
        let folder = &image[ROOT * SECTOR..][..SECTOR];
        for (name, content) in [
            ("meta-data", "instance-id: web-1\nlocal-hostname: web-1\n"),
            ("network-config", "version: 2\n"),
            ("user-data", "#cloud-config\n"),
        ] {
            let at = folder.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() - 33;
            let number = |from: usize| u32::from_le_bytes(folder[at + from..][..4].try_into().unwrap()) as usize;
            assert_eq!(&image[number(2) * SECTOR..][..number(10)], content.as_bytes(), "{name}");
        }
    }
}
