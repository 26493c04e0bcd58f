//! Long texts of YAML documents are folded as upstream's server folds them.

use corten_codec::yaml;
use corten_core::Value;

#[test]
fn long_texts_are_folded_at_spaces() {
    let mut status = Value::map();
    let name = "APIService.apiregistration.k8s.io \"odd-one\" is invalid: metadata.name: Invalid";
    status.set(&["message"], format!("{name} value: \"odd-one\"").as_str());
    status.set(
        &["plain"],
        format!("{} end of it", "word ".repeat(16).trim_end()).as_str(),
    );
    status.set(&["short"], "a b");
    let text = String::from_utf8(yaml::encode_value(&status)).unwrap();
    let words = "word ".repeat(15);
    let expected = format!(
        "message: '{name}\n  value: \"odd-one\"'\nplain: {}\n  word end of it\nshort: a b\n",
        words.trim_end()
    );
    assert_eq!(text, expected);
    assert_eq!(yaml::decode_value(text.as_bytes()).unwrap(), status);
}
