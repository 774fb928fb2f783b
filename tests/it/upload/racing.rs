//! Names that somebody else takes while a file is under way.

use std::fs;

use super::place::{Place, post};
use crate::util::noise;

// docs/guarantees.md, 47.
#[test]
fn of_two_at_once_to_one_name_one_wins_whole() {
    let place = Place::new();
    let contents = [noise(300_000), noise(600_000)];
    let clients = contents.each_ref().map(|content| {
        let client = place.connect();
        let stream = post("name", content);
        let (head, tail) = stream.split_at(stream.len() - 100_000);
        client.send(head);
        (client, tail.to_vec())
    });
    place.until_under_way(2);
    for (client, tail) in &clients {
        client.send(tail);
        client.finish();
    }
    let answers = clients.map(|(client, _)| String::from_utf8(client.rest()).expect("UTF-8"));
    let winner = answers.iter().position(|answer| answer.starts_with("ok|")).expect("one wins");
    assert_eq!(answers[winner], format!("ok|{}|name\n", contents[winner].len()));
    assert_eq!(answers[1 - winner], "err|exists\n");
    place.assert_file("name", &contents[winner]);
    place.assert_names(["name"]);
}

#[test]
fn of_two_that_may_overwrite_the_last_is_there_whole() {
    let place = Place::with(|upload| upload.overwrite(true));
    let [first, second] = [place.connect(), place.connect()];
    let contents = [noise(300_000), noise(200_000)];
    first.send(post("name", &contents[0]).split_last().expect("it is not empty").1);
    second.send(post("name", &contents[1]));
    second.expect("ok|200000|name\n");
    place.assert_file("name", &contents[1]);
    first.send([*contents[0].last().expect("it is not empty")]);
    first.expect("ok|300000|name\n");
    place.assert_file("name", &contents[0]);
    place.assert_names(["name"]);
}

#[test]
fn what_appears_under_its_name_meanwhile_stays() {
    let place = Place::new();
    for (name, appear) in [
        ("file", (|place: &Place| place.put("file", "before")) as fn(&Place)),
        ("link", |place| place.link("link", place.outside("nothing"))),
        ("directory", |place| fs::create_dir(place.path("directory")).expect("a directory")),
    ] {
        let client = place.connect();
        client.send(format!("post|5|{name}\nhell"));
        place.until_under_way(1);
        appear(&place);
        client.send("o");
        assert_eq!(client.rest(), b"err|exists\n", "{name}");
    }
    place.assert_file("file", "before");
    assert!(!place.outside("nothing").exists());
    place.assert_names(["directory", "file", "link"]);
}

#[test]
fn a_directory_that_appears_meanwhile_is_not_replaced_either() {
    let place = Place::with(|upload| upload.overwrite(true));
    let client = place.connect();
    client.send("post|5|name\nhell");
    place.until_under_way(1);
    fs::create_dir(place.path("name")).expect("a directory");
    client.send("o");
    assert_eq!(client.rest(), b"err|exists\n");
    assert!(place.path("name").is_dir());
    place.assert_names(["name"]);
}
