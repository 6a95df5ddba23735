//! Alibaba Cloud's signature, version 3 (ACS3-HMAC-SHA256), of requests that say everything in their query.
//!
//! In come a request's parts and a key, out goes the Authorization header. Pure; the official documentation's fixed
//! example is the test.

use aws_lc_rs::{digest, hmac};
use std::fmt::Write;

/// The hash of a body that is empty, as all of ours are.
pub(crate) const EMPTY_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// The query in the form that is signed and sent: sorted by name, everything but letters, digits and `-._~` escaped.
pub(crate) fn query(pairs: &[(String, String)]) -> String {
    let mut pairs: Vec<&(String, String)> = pairs.iter().collect();
    // By name alone: sorted as text, `Id.10=` would come before `Id.1=`.
    pairs.sort();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

/// The Authorization header of a POST to `/`. The headers are all that are signed, by lower-case name; `host` and every
/// `x-acs-*` must be among them.
pub(crate) fn authorization(query: &str, headers: &[(&str, &str)], key_id: &str, secret: &str) -> String {
    let mut headers = headers.to_vec();
    headers.sort_unstable();
    let canonical = headers.iter().fold(String::new(), |text, (name, value)| format!("{text}{name}:{value}\n"));
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let request = format!("POST\n/\n{query}\n{canonical}\n{names}\n{EMPTY_BODY}");
    let to_sign = format!("{ALGORITHM}\n{}", hash(request.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    format!("{ALGORITHM} Credential={key_id},SignedHeaders={names},Signature={signature}")
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_documentations_fixed_example_is_signed_as_it_says() {
        let query = query(&pairs(&[
            ("RegionId", "cn-shanghai"),
            ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd"),
        ]));
        let headers = [
            ("x-acs-version", "2014-05-26"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-content-sha256", EMPTY_BODY),
        ];
        assert_eq!(
            authorization(&query, &headers, "YourAccessKeyId", "YourAccessKeySecret"),
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;\
             x-acs-date;x-acs-signature-nonce;x-acs-version,\
             Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
        assert_eq!(hash(b""), EMPTY_BODY);
    }

    #[test]
    fn a_query_is_sorted_and_escaped_as_the_signature_wants_it() {
        let text = query(&pairs(&[("b", "v=a b*c~d/e"), ("a.10", "ä"), ("a.1", ""), ("Z", "+")]));
        assert_eq!(text, "Z=%2B&a.1=&a.10=%C3%A4&b=v%3Da%20b%2Ac~d%2Fe");
    }
}
