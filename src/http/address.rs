//! Which addresses the fetcher never talks to: a cloud's metadata service hands out the machine's own credentials to
//! anybody on the machine who asks, so no URL and no DNS answer may lead there. Pure: addresses and names in, a
//! verdict out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services outside the link-local range, by their documented addresses.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud.
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's wire server.
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud.
];

/// Names that clouds resolve to their metadata services.
const METADATA_NAMES: [&str; 6] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Whether a connection to this address is refused.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => is_forbidden_v6(v6),
    }
}

fn is_forbidden_v6(v6: Ipv6Addr) -> bool {
    let groups = v6.segments();
    if let Some(v4) = embedded_v4(groups) {
        return is_forbidden(IpAddr::V4(v4));
    }
    v6.is_unicast_link_local()
        || groups[..2] == [0xfd00, 0x0ec2] // AWS: metadata, credentials of pods, time.
        || groups == [0xfd20, 0x0ce, 0, 0, 0, 0, 0, 0x254] // Google Cloud.
}

/// The IPv4 address that an IPv6 address leads to: mapped, compatible, and behind NAT64's well-known prefix.
fn embedded_v4(groups: [u16; 8]) -> Option<Ipv4Addr> {
    let wraps = matches!(groups[..6], [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0]);
    let [a, b] = groups[6].to_be_bytes();
    let [c, d] = groups[7].to_be_bytes();
    wraps.then(|| Ipv4Addr::new(a, b, c, d))
}

/// Whether a host's name is refused whatever it resolves to.
pub(super) fn is_forbidden_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    METADATA_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_addresses_are_refused_in_every_spelling() {
        let check = |address: &str, expected: bool| {
            let parsed = address.parse().expect(address);
            assert_eq!(is_forbidden(parsed), expected, "{address}");
        };
        check("169.254.169.254", true);
        check("169.254.170.2", true);
        check("169.253.255.255", false);
        check("100.100.100.200", true);
        check("168.63.129.16", true);
        check("192.0.0.192", true);
        check("::ffff:169.254.169.254", true);
        check("::169.254.169.254", true);
        check("64:ff9b::169.254.169.254", true);
        check("fe80::1", true);
        check("febf::1", true);
        check("fec0::1", false);
        check("fd00:ec2::254", true);
        check("fd00:ec2::23", true);
        check("fd20:ce::254", true);
        check("127.0.0.1", false);
        check("::1", false);
        check("::ffff:127.0.0.1", false);
        check("10.0.0.1", false);
        check("100.100.100.201", false);
        check("fd00::1", false);
        check("2606:4700::1111", false);
    }

    #[test]
    fn metadata_names_are_refused_in_every_spelling() {
        for name in ["metadata.google.internal", "METADATA.Google.Internal.", "metadata", "instance-data"] {
            assert!(is_forbidden_name(name), "{name}");
        }
        for name in ["metadata.example.com", "prometheus", "google.internal"] {
            assert!(!is_forbidden_name(name), "{name}");
        }
    }
}
