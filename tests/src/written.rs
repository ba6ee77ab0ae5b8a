//! A secret in every form in which it can be found in a text.

use base64::{Engine, engine::general_purpose::STANDARD};

/// How a text can be written so that nobody reads it: in Base64, in hexadecimal digits, large and small,
/// and in percent-encoding, as far as needed and of every byte.
pub fn encoded(text: &str) -> Vec<String> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = text
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let every: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    vec![STANDARD.encode(text), hex.to_uppercase(), hex, percent, every]
}

/// The secret itself and its encodings, also where it is a part of what was encoded.
pub fn written(secret: &str) -> Vec<String> {
    let mut written = vec![secret.to_owned()];
    written.extend(encoded(secret).into_iter().skip(1));
    for before in ["", "-", "--"] {
        let whole = STANDARD.encode(format!("{before}{secret}---"));
        // Characters that stand for the secret alone, wherever it begins.
        let from = (before.len() * 8).div_ceil(6);
        let to = (before.len() + secret.len()) * 8 / 6;
        written.push(whole[from..to].to_owned());
    }
    written
}
