//! A large file that is sent, and compared with what is there then.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is sent in one call.
const PIECE: usize = 1 << 20;

/// How often a piece says where it belongs.
const PAGE: usize = 4096;

/// See the module.
pub(crate) struct Upload {
    to: SocketAddr,
    path: PathBuf,
    pieces: u64,
    noise: Vec<u8>,
}

impl Upload {
    /// A file of so many mebibytes, which will be in this directory.
    pub(crate) fn new(to: SocketAddr, directory: &Path, mebibytes: u64) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let noise = std::iter::repeat_with(|| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let noise = noise.flatten().take(PIECE).collect();
        Self { to, path: directory.join("file"), pieces: mebibytes, noise }
    }

    /// Sends it; how long that takes until it is acknowledged.
    pub(crate) fn send(&mut self) -> Duration {
        let began = Instant::now();
        let mut socket = TcpStream::connect(self.to).expect("the server listens");
        let name = format!("{}|file\n", self.pieces * PIECE as u64);
        socket.write_all(format!("post|{name}").as_bytes()).expect("the server reads");
        for number in 0..self.pieces {
            socket.write_all(stamped(&mut self.noise, number)).expect("the server reads");
        }
        let mut answer = String::new();
        BufReader::new(&socket).read_line(&mut answer).expect("the server answers");
        assert_eq!(answer, format!("ok|{name}"));
        began.elapsed()
    }

    /// Compares what is there with what was sent, and removes it.
    pub(crate) fn check(&mut self) {
        let mut file = File::open(&self.path).expect("it is there");
        let mut piece = vec![0; PIECE];
        for number in 0..self.pieces {
            file.read_exact(&mut piece).expect("it is whole");
            assert!(piece == stamped(&mut self.noise, number), "piece {number} is another");
        }
        assert_eq!(file.read(&mut piece).expect("it can be read"), 0, "there is more of it");
        fs::remove_file(&self.path).expect("it is ours");
    }
}

/// The piece of this number.
fn stamped(noise: &mut [u8], number: u64) -> &[u8] {
    for page in noise.chunks_mut(PAGE) {
        page[..8].copy_from_slice(&number.to_le_bytes());
    }
    noise
}
