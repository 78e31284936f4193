//! Ways to talk to others.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
};

use crate::{calls::answer, world::World};

pub fn connect(world: &World) -> io::Result<()> {
    TcpStream::connect(("127.0.0.1", world.tcp)).map(drop)
}

pub fn listen(_: &World) -> io::Result<()> {
    TcpListener::bind("127.0.0.1:0").map(drop)
}

pub fn udp(world: &World) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"secret", ("127.0.0.1", world.udp)).map(drop)
}

pub fn unix(world: &World) -> io::Result<()> {
    UnixStream::connect(&world.unix).map(drop)
}

pub fn abstract_unix(world: &World) -> io::Result<()> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(&world.abstract_name)?).map(drop)
}

pub fn pair(_: &World) -> io::Result<()> {
    UnixStream::pair().map(drop)
}

pub fn netlink(_: &World) -> io::Result<()> {
    // SAFETY: numbers only.
    answer(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0) }.into())
}

/// What remains, because what it writes there the server reads with care.
pub fn pipes(_: &World) -> io::Result<()> {
    let (mut input, mut output) = io::pipe()?;
    output.write_all(b"result")?;
    drop(output);
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    assert_eq!(text, "result");
    Ok(())
}
