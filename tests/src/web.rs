//! One plain HTTP/1.1 GET, each on its own connection, as a user of a Service would do it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What a server answered.
#[derive(Debug)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Page {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Gets a page; call it inside the cluster's network namespace.
pub fn get(authority: &str, path: &str) -> Result<Page> {
    let address: SocketAddr = authority
        .parse()
        .with_context(|| format!("not an address and port: {authority}"))?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("connecting to {authority}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading from {authority}"))?;
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(text: &str) -> Result<Page> {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("the answer has no end of headers: {text:?}");
    };
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status line: {head:?}"))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    Ok(Page {
        status,
        headers,
        body: body.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn answers_are_read() {
        let page = parse("HTTP/1.1 503 No\r\nGuestbook-Pod: a\r\n\r\nbody").unwrap();
        assert_eq!(
            (page.status, page.header("guestbook-pod")),
            (503, Some("a"))
        );
        assert_eq!(page.body, "body");
        assert!(parse("HTTP/1.1 200 OK").is_err());
    }
}
