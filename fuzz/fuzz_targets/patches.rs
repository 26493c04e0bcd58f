//! Patches: `object NUL patch` as JSON, applied in every way; each is refused or gives a value, and an apply that was
//! accepted changes nothing the second time.
#![no_main]

use corten_api::Kind;
use corten_api::core::v1::Pod;
use corten_codec::json;
use corten_core::{MsgMut, Time};
use corten_meta::GroupVersionKind;
use corten_patch::{Apply, Schema, apply, merge, strategic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.iter().position(|b| *b == 0) else {
        return;
    };
    let (Ok(object), Ok(patch)) = (
        json::decode_value(&data[..at]),
        json::decode_value(&data[at + 1..]),
    ) else {
        return;
    };
    let _ = corten_patch::json(object.clone(), &patch);
    let _ = merge(object.clone(), &patch);
    let mut pod = Pod::new();
    let msg = MsgMut::new(&mut pod).msg();
    let _ = strategic(
        object.clone(),
        &patch,
        msg,
        &GroupVersionKind::new("", "v1", "Pod"),
    );
    let now = Time::from_unix(1_700_000_000);
    let applying = |live| Apply {
        live,
        patch: &patch,
        schema: Schema::Table(msg),
        manager: "fuzz",
        subresource: "",
        force: true,
        now: &now,
    };
    if let Ok(once) = apply(&applying(Some(&object))) {
        let twice = apply(&applying(Some(&once)));
        assert_eq!(twice.as_ref(), Ok(&once));
    }
});
