//! The example `kv`, a small Redis: over the simulated network cut anywhere, and beside
//! a real redis-server, whose every answer it gives too.

#[path = "../../examples/kv/main.rs"]
#[allow(dead_code, reason = "its main is for those who run it")]
mod example;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Pace, Script};
use serve_forever::sim::World;
use serve_forever::testing::TestServer;

use self::example::commands::Kv;
use self::example::limits;

const SECOND: Duration = Duration::from_secs(1);

/// A command as clients send it.
fn command(words: &str) -> Vec<u8> {
    let words: Vec<_> = words.split(' ').map(|word| word.replace('~', " ")).collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

fn world() -> World<Kv, true> {
    World::new(1, Conditions::calm(), Kv::new(1 << 20), limits()).expect("good limits")
}

/// What a client gets for all of this.
fn answers(script: Script) -> String {
    let mut world = world();
    let client = world.play(script.finish());
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("nothing is left");
    String::from_utf8_lossy(world.client(client).received()).into_owned()
}

#[test]
fn commands_are_the_same_wherever_their_bytes_are_cut() {
    let all = ["SET a 1", "INCRBY a 41", "GET a", "ECHO ~", "DEL a b", "PING"].map(command).concat();
    let all = [&all[..], b"PING  inline\r\n\r\nget a\n"].concat();
    let expected = "+OK\r\n:42\r\n$2\r\n42\r\n$1\r\n \r\n:1\r\n+PONG\r\n$6\r\ninline\r\n$-1\r\n";
    for first in 0..=all.len() {
        let (head, rest) = all.split_at(first);
        let script = Script::new().send(head.to_vec()).after(SECOND).send(rest.to_vec());
        assert_eq!(answers(script), expected, "cut at {first}");
    }
    assert_eq!(answers(Script::new().send(all.clone()).cut_at(1..all.len())), expected, "byte by byte");
}

#[test]
fn what_is_no_command_is_answered_and_ends_the_connection() {
    for (input, expected) in [
        ("*1\r\n*1\r\n", "-ERR Protocol error: expected '$'\r\n"),
        ("*-1\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*99999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*1\r\n$1000000000\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$4\r\nPINGxx", "-ERR Protocol error: a bulk string is longer than it says\r\n"),
    ] {
        let input = [&command("PING")[..], input.as_bytes(), &command("PING")].concat();
        assert_eq!(answers(Script::new().send(input)), format!("+PONG\r\n{expected}"));
    }
    let line = vec![b'x'; 64 << 10];
    assert_eq!(answers(Script::new().send(line)), "-ERR Protocol error: too big inline request\r\n");
}

#[test]
fn keys_expire_in_time_and_leave_nothing() {
    let mut world = world();
    let sets = ["SET a 1 PX 1500", "SET b 1", "EXPIRE b 2", "SET c 1 EX 9", "PERSIST c"].map(command);
    let asks = ["EXISTS a b c", "DBSIZE"].map(command).concat();
    let script = sets.iter().fold(Script::new(), |script, set| script.send(set.clone())).send(asks.clone());
    let script = script.after(1700 * SECOND / 1000).send(asks.clone()).after(SECOND).send(asks);
    let client = world.play(script);
    world.run_for(5 * SECOND).expect("it keeps its promises");
    let expected = "+OK\r\n+OK\r\n:1\r\n+OK\r\n:1\r\n:3\r\n:3\r\n:2\r\n:2\r\n:1\r\n:1\r\n";
    assert_eq!(String::from_utf8_lossy(world.client(client).received()), expected);
}

#[test]
fn the_store_is_bounded() {
    let value = "x".repeat(300_000);
    let set = |key: &str| command(&format!("SET {key} {value}"));
    let script = Script::new().send([set("a"), set("b"), set("c"), set("d"), set("a")].concat());
    let script = script.send(command("DEL a")).send(set("d"));
    let full = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    assert_eq!(answers(script), format!("+OK\r\n+OK\r\n+OK\r\n{full}+OK\r\n:1\r\n+OK\r\n"));
    // Whoever asks for the old value learns of it too.
    let long = "x".repeat(2 << 20);
    let script = Script::new().send(command("SET a old")).send(command(&format!("SET a {long} GET")));
    let script = script.send(command("GET a")).send(command("SET a new GET")).send(command("GET a"));
    let old = "$3\r\nold\r\n";
    assert_eq!(answers(script), format!("+OK\r\n{full}{old}{old}$3\r\nnew\r\n"));
}

#[test]
fn a_page_in_a_browser_gives_it_no_commands() {
    for head in ["POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: localhost\r\n"] {
        let answers = answers(Script::new().send(format!("{head}\r\nSET key value\r\n").into_bytes()));
        assert!(answers.ends_with("-ERR Protocol error: HTTP is not spoken here\r\n"), "{answers}");
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_dropped_and_others_are_not() {
    let mut world = world();
    let subscriber = |pace| Script::new().read(pace).send(command("SUBSCRIBE news"));
    let slow = world.play(subscriber(Pace::Never));
    let quick = world.play(subscriber(Pace::AtOnce));
    let message = command(&format!("PUBLISH news {}", "x".repeat(100_000)));
    let publisher =
        world.play((0..400).fold(Script::new().after(SECOND), |script, _| script.send(message.clone())));
    world.run_for(60 * SECOND).expect("it keeps its promises");
    let answers = String::from_utf8_lossy(world.client(publisher).received()).into_owned();
    assert!(answers.starts_with(":2\r\n") && answers.ends_with(":1\r\n"), "{answers}");
    let all = 400 * (100_000 + "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$100000\r\n\r\n".len());
    let greeting = "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n".len();
    assert_eq!(world.client(quick).received().len(), greeting + all);
    assert!(world.client(slow).received().len() < greeting + all);
}

#[test]
fn a_message_goes_to_every_subscriber_in_its_version() {
    let mut world = world();
    let subscriber = |hello: &str| Script::new().send(command(hello)).send(command("SUBSCRIBE news"));
    let two = world.play(subscriber("HELLO 2"));
    let three = world.play(subscriber("HELLO 3"));
    let gone = world.play(subscriber("HELLO 2").finish());
    let publish =
        Script::new().after(SECOND).send(command("PUBLISH news hello")).send(command("PUBLISH x y"));
    let publisher = world.play(publish);
    world.run_for(3 * SECOND).expect("it keeps its promises");
    let message = "3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
    let text = |client| String::from_utf8_lossy(world.client(client).received()).into_owned();
    assert!(text(two).ends_with(&format!("*{message}")), "{}", text(two));
    assert!(text(three).ends_with(&format!(">{message}")), "{}", text(three));
    assert!(!text(gone).contains("hello"));
    assert_eq!(text(publisher), ":2\r\n:0\r\n");
}

#[test]
fn a_client_that_does_not_read_is_not_read_either() {
    let mut world = world();
    let value = command(&format!("SET a {}", "x".repeat(1_000)));
    let gets = command("GET a").repeat(20_000);
    let script = Script::new().read(Pace::Never).send(value).send(gets);
    let client = world.play(script.after(30 * SECOND).read(Pace::AtOnce).finish());
    world.run_for(20 * SECOND).expect("it keeps its promises");
    let (read, _) = world.net().moved();
    assert!(read < 200_000, "{read} bytes of requests are read, whose answers nobody takes");
    world.run().expect("it keeps its promises");
    assert_eq!(world.client(client).received().len(), 5 + 20_000 * (7 + 1_000 + 2));
}

/// What both are asked, in this order.
const ASKED: &str = "\
PING|PING hello|ECHO x|ECHO|SET a 1|GET a|GET none|GET|SET a|SET a 2 NX|SET b 2 NX GET|SET b 3 XX GET\
|SET c 3 XX|SET d 1 EX 100|TTL d|SET d 2 KEEPTTL|TTL d|SET d 3|TTL d|SET e 1 PX 100000 NX|SET e 1 EX 0\
|SET e 1 EX -5|SET e 1 EX abc|SET e 1 EX|SET e 1 EX 1 PX 1|SET e 1 NX XX|SET e 1 FOO\
|SET e 1 EX 9223372036854775807|INCR a|INCR new|INCRBY a 10|DECR a|DECRBY a 3\
|DECRBY a -9223372036854775808|SET s abc|INCR s|INCRBY a abc|SET big 9223372036854775807|INCR big\
|SET f 10.5|INCRBYFLOAT f 0.1|INCRBYFLOAT f abc|INCRBYFLOAT s 1|SET f 3.0|INCRBYFLOAT f 1\
|INCRBYFLOAT f 1e3|INCRBYFLOAT f -1003.5|DEL a b none|EXISTS d d none|STRLEN s|STRLEN none\
|EXPIRE s 100|TTL s|EXPIRE s 50 GT|EXPIRE s 200 GT|EXPIRE s 300 LT|EXPIRE s 20 NX|EXPIRE none 1\
|EXPIRE s 10 NX XX|EXPIRE s 10 GT LT|EXPIRE s 10 BAD|EXPIRE s abc|PERSIST s|PERSIST s|TTL s\
|EXPIRE s 10 XX|EXPIRE s 10 GT|EXPIRE s 10 LT|TTL s|TTL none|PTTL none|EXPIREAT s 4102444800\
|EXPIRETIME s|PEXPIRETIME s|EXPIRE s -1|EXISTS s|SELECT 0|SELECT 99|SELECT abc|FLUSHALL|DBSIZE\
|SET x 1|DBSIZE|CLIENT SETNAME foo|CLIENT GETNAME|CONFIG GET save|CONFIG GET appendonly\
|PUBLISH ch hello|UNSUBSCRIBE|SUBSCRIBE one|PING|PING x|SUBSCRIBE one|UNSUBSCRIBE one|UNSUBSCRIBE none\
|GET x|HELLO 4|HELLO abc|SUBSCRIBE|SET 1 2 3 4|UNLINK x|STRLEN|CLIENT|SET q 01|INCR q|SET q -0|INCR q\
|PING a b|FLUSHALL foo|GET q|FLUSHALL ASYNC|GET q|FLUSHDB SYNC x|CONFIG GET|COMMAND COUNT x|INCRBY q +1\
|INCRBY q -1|SET q 5 GET";

/// Those behind HELLO 3.
const ASKED_IN_3: &str =
    "GET none|SUBSCRIBE c|GET x|PING|SET y 1|GET y|UNSUBSCRIBE c|CONFIG GET save|TTL none";

/// The answer to a command: all that comes until a PING behind it is answered.
fn ask(server: &mut (impl Read + Write), asked: &str) -> String {
    const MARK: &[u8] = b"$4\r\nmark\r\n";
    const MARK_OF_A_SUBSCRIBER: &[u8] = b"*2\r\n$4\r\npong\r\n$4\r\nmark\r\n";
    server.write_all(&[command(asked), command("PING mark")].concat()).expect("it takes commands");
    let mut answer = Vec::new();
    while !answer.ends_with(MARK) {
        let mut buffer = [0; 4096];
        let count = server.read(&mut buffer).expect("it answers");
        assert!(count > 0, "it ended behind {}", answer.escape_ascii());
        answer.extend_from_slice(&buffer[..count]);
    }
    let mark = if answer.ends_with(MARK_OF_A_SUBSCRIBER) { MARK_OF_A_SUBSCRIBER } else { MARK };
    answer[..answer.len() - mark.len()].escape_ascii().to_string()
}

/// A redis-server on a Unix socket; killed when it drops.
struct Redis(Child, tempfile::TempDir);

impl Redis {
    /// `None`, said aloud, where it is not installed.
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let started = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
            .arg(directory.path())
            .arg("--unixsocket")
            .arg(directory.path().join("redis.sock"))
            .stdout(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(Self(child, directory)),
            Err(error) => {
                eprintln!("SKIPPED: redis-server: {error} (apt install redis-server)");
                None
            }
        }
    }

    fn connect(&self) -> UnixStream {
        for _ in 0..600 {
            if let Ok(stream) = UnixStream::connect(self.1.path().join("redis.sock")) {
                stream.set_read_timeout(Some(60 * SECOND)).expect("a time-out");
                return stream;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("redis-server listens to nobody");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.0.kill().expect("it was running");
        self.0.wait().expect("it was ours");
    }
}

#[test]
fn its_answers_are_those_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let server = TestServer::start(Kv::new(1 << 20), limits()).expect("it starts");
    let mut ours: TcpStream = server.connect().expect("it listens");
    ours.set_read_timeout(Some(60 * SECOND)).expect("a time-out");
    let mut theirs = redis.connect();
    // The answer to HELLO has the server's own name.
    for (hello, all) in [("HELLO 2", ASKED), ("HELLO 3", ASKED_IN_3)] {
        ask(&mut ours, hello);
        ask(&mut theirs, hello);
        for asked in all.split('|') {
            assert_eq!(ask(&mut ours, asked), ask(&mut theirs, asked), "{asked}");
        }
    }
}
