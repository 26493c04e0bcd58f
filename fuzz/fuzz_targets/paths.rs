//! Paths and queries: every request has attributes, and what they say of a resource agrees with itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the API server uses more of it")]
#[path = "../../servers/apiserver/src/info.rs"]
mod info;

use info::{Query, RequestInfo};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let query = Query::parse(query);
    for method in [http::Method::GET, http::Method::POST, http::Method::DELETE] {
        let info = RequestInfo::new(&method, path, &query);
        assert_eq!(info, RequestInfo::new(&method, path, &query));
        assert!(info.is_resource || info.resource.is_empty());
    }
});
