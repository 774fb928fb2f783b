//! The chat's page in a browser: headless Chromium, driven over WebDriver.
//!
//! Without `chromium` and `chromedriver` the tests say that they are skipped.
//! `SCREENSHOTS=docs cargo test … browser::` renews the pictures of the page.

mod driver;

use std::io::Write;
use std::path::Path;
use std::sync::mpsc;

use serve_forever::services::{Chat, Web};
use serve_forever::{Config, Endpoint};

use self::driver::{Driver, Page};
use crate::util::{Client, PATIENCE, Server, eventually, listen_anywhere};

/// A web server at this endpoint, and where its chat is spoken to in lines.
fn serve(at: &Endpoint) -> (Server<Web>, Endpoint) {
    let (tell, told) = mpsc::channel();
    let web = Web::new(Chat::new());
    let server = Server::start_prepared(
        Config::default(),
        web,
        Web::limits(),
        std::slice::from_ref(at),
        move |reactor, web| {
            let lines = reactor.listen(web, &listen_anywhere()).expect("a port");
            reactor.get_mut(web).chat_on(lines);
            tell.send(reactor.local(lines).cloned().expect("it was just made")).expect("the test waits");
        },
    );
    (server, told.recv_timeout(PATIENCE).expect("the server starts"))
}

/// Opens the page, and waits until it is connected.
fn open(driver: &Driver, at: &Endpoint) -> Page {
    let page = driver.page();
    page.go_to(&format!("http://{}/chat", at.to_string().trim_start_matches("tcp://")));
    until_state(&page, "on");
    page
}

fn until_state(page: &Page, state: &str) {
    eventually(&format!("the page's state is {state}"), || {
        page.run("return document.getElementById('state').dataset.state") == state
    });
}

/// The lines of the page's log.
fn log(page: &Page) -> Vec<String> {
    let lines = page.run("return [...document.querySelectorAll('#log p')].map(line => line.innerText)");
    let lines = lines.as_array().cloned().unwrap_or_default();
    lines.iter().map(|line| line.as_str().unwrap_or_default().to_owned()).collect()
}

fn until_log_has(page: &Page, line: &str) {
    eventually(&format!("the page shows {line:?}"), || log(page).iter().any(|shown| shown == line));
}

/// The lines of the page's log that end like this.
#[cfg(all(feature = "bus", feature = "sim"))]
fn shown(page: &Page, end: &str) -> usize {
    log(page).iter().filter(|line| line.ends_with(end)).count()
}

/// Keeps a picture, if the environment names a directory for it.
fn picture(page: &Page, name: &str) {
    if let Some(directory) = std::env::var_os("SCREENSHOTS") {
        std::fs::write(Path::new(&directory).join(name), page.screenshot()).expect("the directory is there");
    }
}

#[test]
fn two_pages_and_a_client_with_lines_are_in_one_room() {
    let Some(driver) = Driver::start() else {
        // Past the capture of output: whoever runs this should see it.
        let _ = std::io::stderr().write_all(b"SKIPPED: chromium and chromedriver are not installed\n");
        return;
    };
    let (server, lines) = serve(&listen_anywhere());
    let at = server.at().clone();
    let (first, second) = (open(&driver, &at), open(&driver, &at));
    until_log_has(&first, "guest2 joined");
    let third = Client::connect(&lines);
    third.expect("* you are guest3\n");

    first.type_into("#text", "hello");
    third.expect("<guest1> hello\n");
    until_log_has(&second, "guest1 hello");
    until_log_has(&first, "guest1 hello");

    // Lines arrive in order everywhere.
    let sent: Vec<_> = (0..50).map(|number| format!("line {number}")).collect();
    third.send(sent.iter().map(|line| format!("{line}\n")).collect::<String>());
    for page in [&first, &second] {
        until_log_has(page, "guest3 line 49");
        let shown: Vec<_> =
            log(page).iter().filter_map(|line| Some(line.strip_prefix("guest3 ")?.to_owned())).collect();
        assert_eq!(shown[shown.len() - 50..], sent);
    }

    // What looks like HTML is text, also where a name would be.
    third.send("<b>bold</b><img src=x onerror='document.title=1'>\n/nick <i>me</i>\n");
    third.expect("! bad name\n");
    until_log_has(&second, "guest3 <b>bold</b><img src=x onerror='document.title=1'>");
    assert_eq!(second.run("return document.querySelectorAll('#log img, #log i, #log b b').length"), 0);
    assert_eq!(second.run("return document.title"), "Chat");

    // Names, and who is there.
    second.type_into("#text", "/nick Ann");
    third.expect("* guest2 is now Ann\n");
    eventually("the first page lists who is there", || {
        first.run("return document.getElementById('who').innerText.split('\\n').join(', ')")
            == "guest1 (you), Ann, guest3"
    });
    first.type_into("#text", "/msg Ann just between us");
    until_log_has(&second, "guest1 (to you alone) just between us");

    second.type_into("#text", "This page is one file, and works without a mouse.");
    until_log_has(&first, "Ann This page is one file, and works without a mouse.");
    first.prefer("light");
    picture(&first, "chat-light.png");
    first.prefer("dark");
    picture(&first, "chat-dark.png");

    // The server restarts, and both pages come back with their names.
    drop(third);
    drop(server);
    for page in [&first, &second] {
        until_state(page, "off");
    }
    let (server, lines) = serve(&at);
    for page in [&first, &second] {
        until_state(page, "on");
    }
    eventually("both are back", || server.ask(|web, _| web.chat().members().len()) == 2);
    eventually("Ann has her name again", || {
        server.ask(|web, _| web.chat().members().any(|(_, name)| name == "Ann"))
    });
    let third = Client::connect(&lines);
    third.line();
    third.send("welcome back\n");
    for page in [&first, &second] {
        eventually("it is shown", || log(page).iter().any(|line| line.ends_with(" welcome back")));
    }
    // No policy was broken, and no script failed.
    for page in [&first, &second] {
        let complaints = page.complaints();
        let expected = |text: &String| text.contains("WebSocket connection to") || text.contains("favicon");
        assert!(complaints.iter().all(expected), "{complaints:?}");
    }
}

/// What a page has missed while its node is gone comes from another one, under the same
/// address as behind a load balancer (docs/guarantees.md, 95).
#[cfg(all(feature = "bus", feature = "sim"))]
#[test]
fn a_page_whose_node_is_replaced_gets_what_it_missed() {
    use std::time::Duration;

    use serve_forever::bus::BusLimits;
    use serve_forever::services::SharedChat;

    use crate::bus::redis::Redis;
    use crate::bus::web::start_at;

    let (Some(driver), Some(redis)) = (Driver::start(), Redis::start(&[])) else {
        let _ = std::io::stderr().write_all(b"SKIPPED: chromium, chromedriver or redis-server is missing\n");
        return;
    };
    let limits = || BusLimits { presence_ttl: Duration::from_secs(6), ..SharedChat::bus_options().limits };
    let (one, _) = start_at(&redis, limits(), &listen_anywhere());
    let at = one.at().clone();
    let (_other, lines) = start_at(&redis, limits(), &listen_anywhere());
    let page = open(&driver, &at);
    until_log_has(&page, "you are guest1");
    page.type_into("#text", "/nick Ann");
    until_log_has(&page, "guest1 is now Ann");
    page.type_into("#text", "mine");
    let member = Client::connect(&lines);
    member.line();
    member.send("/nick Bob\none\n");
    until_log_has(&page, "Bob one");

    one.stop();
    until_state(&page, "off");
    member.send("two\nthree\n");
    let (_again, _) = start_at(&redis, limits(), &at);
    until_log_has(&page, "Bob three");
    for line in ["Bob one", "Bob two", "Bob three", "Ann mine"] {
        assert_eq!(shown(&page, line), 1, "{line} in {:?}", log(&page));
    }
    let place = |end: &str| log(&page).iter().position(|line| line.ends_with(end));
    assert!(place("Bob two") < place("Bob three"), "{:?}", log(&page));
    // Its name is free when its dead node counts as dead.
    eventually("the page has its name again", || {
        page.run("return document.querySelector('#who .me').innerText") == "Ann (you)"
    });
    // A line of its own that it has shown and that was told to nobody before the connection
    // was lost.
    page.run("sent.push('once'); take('<Ann> once'); take('<Bob> once')");
    assert_eq!(shown(&page, "once"), 1, "{:?}", log(&page));
}
