//! A name server for one name. Port 53 of loopback addresses is enough of one for a resolver without options.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Addresses (type A), of the internet (class IN).
const ADDRESS: [u8; 4] = [0, 1, 0, 1];
/// Length of a message's head.
const HEAD: usize = 12;

/// See the module. It ends with the test binary.
pub(crate) struct NameServer {
    address: Ipv4Addr,
    answered: Arc<AtomicUsize>,
}

impl NameServer {
    /// Says that `name` is this machine, and that there are no others.
    pub(crate) fn start(name: &str) -> Self {
        // An address of its own, so that nobody else who serves names here is in the way.
        let [high, low, ..] = std::process::id().to_le_bytes();
        let address = Ipv4Addr::new(127, 53, low, high | 1);
        let socket = UdpSocket::bind(SocketAddr::from((address, 53))).unwrap_or_else(|error| {
            panic!("a name server on {address}: {error}; be root, or set the sysctl net.ipv4.ip_unprivileged_port_start to 53")
        });
        let answered = Arc::new(AtomicUsize::new(0));
        let (question, count) = (question(name), Arc::clone(&answered));
        thread::spawn(move || serve(&socket, &question, &count));
        Self { address, answered }
    }

    /// `/etc/resolv.conf`
    pub(crate) fn resolver(&self) -> String {
        format!("nameserver {}\n", self.address)
    }

    /// How often it has told the address.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

/// The name as a question has it: each label after its length.
fn question(name: &str) -> Vec<u8> {
    let label =
        |label: &str| [&[u8::try_from(label.len()).expect("a short label")], label.as_bytes()].concat();
    name.split('.').flat_map(label).chain([0]).collect()
}

fn serve(socket: &UdpSocket, name: &[u8], answered: &AtomicUsize) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let Some(asked) = buffer[..length].get(HEAD..) else { continue };
        let is_known = asked.starts_with(name);
        let is_address = is_known && asked[name.len()..].starts_with(&ADDRESS);
        // Answer, recursion available; NXDOMAIN for other names; one question, and an answer where there is one.
        let mut answer = buffer[..2].to_vec();
        answer.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
        answer.extend(question_of(asked));
        if is_address {
            // The name of the question, for a minute.
            answer.extend([0xc0, 12].iter().chain(&ADDRESS).chain(&[0, 0, 0, 60, 0, 4, 127, 0, 0, 1]));
            answered.fetch_add(1, Ordering::Relaxed);
        }
        let _ = socket.send_to(&answer, from);
    }
}

/// The question alone: up to the end of the name, type and class.
fn question_of(asked: &[u8]) -> &[u8] {
    let end = asked.iter().position(|byte| *byte == 0).map_or(asked.len(), |end| end + 5);
    &asked[..end.min(asked.len())]
}
