//! Messages with descriptors over SOCK_SEQPACKET sockets: one JSON value and at most four descriptors each.
//! Invariant: a message arrives whole or not at all. Callers decide whether a socket blocks.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that one message may have; both ends raise their send buffers to it.
const MESSAGE_MAX: usize = 4 << 20;
const FDS_MAX: usize = 4;

fn socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags | SocketFlags::CLOEXEC,
        None,
    )?;
    grow(socket.as_fd());
    Ok(socket)
}

/// Best effort: without CAP_NET_ADMIN the default (about 200 KiB) stays.
fn grow(socket: BorrowedFd<'_>) {
    let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(socket, MESSAGE_MAX);
}

/// The address of `path`, through its directory's descriptor so that long paths fit into a socket address.
fn with_address<T>(
    path: &Path,
    run: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<T>,
) -> io::Result<T> {
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "socket path has no parent");
    let directory = path.parent().ok_or_else(missing)?;
    let name = path.file_name().ok_or_else(missing)?;
    let directory = rustix::fs::open(
        directory,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let short = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name);
    Ok(run(&SocketAddrUnix::new(short)?)?)
}

/// A non-blocking listening socket.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(SocketFlags::NONBLOCK)?;
    with_address(path, |address| rustix::net::bind(&socket, address))?;
    rustix::net::listen(&socket, 256)?;
    Ok(socket)
}

/// A non-blocking connection.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(SocketFlags::NONBLOCK)?;
    with_address(path, |address| rustix::net::connect(&socket, address))?;
    Ok(socket)
}

/// The next waiting connection, non-blocking; `None` when there is none.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => {
            grow(socket.as_fd());
            Ok(Some(socket))
        }
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Two connected blocking sockets.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors",
        ));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&body)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives one message; `None` at the end of the connection. `WouldBlock` passes through.
pub fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) = despite_reset(|| rustix::net::recv(socket, &mut [0u8; 1][..], flags))?;
    if length == 0 {
        return Ok(None);
    }
    let mut body = vec![0u8; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = despite_reset(|| {
        let buffers = &mut [IoSliceMut::new(&mut body)];
        rustix::net::recvmsg(socket, buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let message = serde_json::from_slice(&body[..received.bytes])?;
    Ok(Some((message, fds)))
}

/// A peer that closed with something unread leaves an error in front of its last messages; it shows once.
fn despite_reset<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    match call() {
        Err(rustix::io::Errno::CONNRESET) => call(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_borders_and_descriptors() {
        let (left, right) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(left.as_fd(), &"first", &[writer.as_fd()]).unwrap();
        send(left.as_fd(), &"second", &[]).unwrap();
        drop((left, writer));
        let (text, fds) = receive::<String>(right.as_fd()).unwrap().unwrap();
        assert_eq!(text, "first");
        rustix::io::write(&fds[0], b"x").unwrap();
        let mut byte = [0u8; 1];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 1);
        assert_eq!(
            receive::<String>(right.as_fd()).unwrap().unwrap().0,
            "second"
        );
        assert!(receive::<String>(right.as_fd()).unwrap().is_none());
    }

    #[test]
    fn last_words_of_a_peer_that_did_not_listen_arrive() {
        let (left, right) = pair().unwrap();
        send(left.as_fd(), &"unread", &[]).unwrap();
        send(right.as_fd(), &"last words", &[]).unwrap();
        drop(right);
        assert_eq!(
            receive::<String>(left.as_fd()).unwrap().unwrap().0,
            "last words"
        );
        assert!(receive::<String>(left.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_long_path_and_a_large_message_work() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("d".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let listener = listen(&long.join("socket")).unwrap();
        let client = connect(&long.join("socket")).unwrap();
        let server = accept(listener.as_fd()).unwrap().unwrap();
        let text = "x".repeat(1 << 20);
        send(client.as_fd(), &text, &[]).unwrap();
        assert_eq!(
            receive::<String>(server.as_fd()).unwrap().unwrap().0.len(),
            1 << 20
        );
    }
}
