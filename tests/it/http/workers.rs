//! Answers that a worker makes (`HttpIo::offload`), over the simulated network.

use std::time::Duration;

use serve_forever::driver::sim::{Conditions, Odds, Script};
use serve_forever::http::{Http, HttpHandler, HttpIo, Request, StatusCode};
use serve_forever::sim::World;
use serve_forever::{BoxError, Config};

/// Squares the number of the path on a worker.
#[derive(Debug, Default)]
struct Squares {
    answered: u32,
}

impl HttpHandler for Squares {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        let number: u64 = request.path().trim_start_matches('/').parse()?;
        let ticket = io.defer();
        io.offload(
            move || number * number,
            move |this: &mut Self, io, square| {
                this.answered += 1;
                _ = match square {
                    Ok(square) => io.answer_to(ticket, StatusCode::OK).text(format!("{square}\n")),
                    Err(error) => {
                        io.answer_to(ticket, StatusCode::INTERNAL_SERVER_ERROR).text(format!("{error}\n"))
                    }
                };
            },
        )?;
        Ok(())
    }
}

/// What pipelined requests are answered by a world in which jobs take up to a second.
fn answers(seed: u64, conditions: Conditions) -> String {
    let handler = Http::new(Squares::default()).clock(None);
    let limits = Http::<Squares>::limits();
    let mut world: World<_> =
        World::with_config(seed, conditions, handler, limits, Config::default()).expect("good limits");
    let workers = world.net().workers();
    world.reactor().set_workers(&workers);
    world.net_mut().conditions_mut().job = (Duration::from_millis(1), Duration::from_secs(1));
    let requests: String =
        (1..=6).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let client = world.play(Script::new().send(requests).finish());
    world.run().expect("it keeps its promises");
    assert_eq!(world.handler().handler().answered, 6, "seed {seed}");
    String::from_utf8(world.client(client).received().to_vec()).expect("text")
}

#[test]
fn answers_of_workers_keep_the_order_of_their_requests() {
    for seed in 0..50 {
        let answers = answers(seed, Conditions { segment: (1, 20), ..Conditions::calm() });
        let bodies: Vec<&str> = answers
            .split("\r\n")
            .filter_map(|line| line.strip_suffix('\n').or_else(|| line.split_once('\n').map(|it| it.0)))
            .collect();
        assert_eq!(bodies, ["1", "4", "9", "16", "25", "36"], "seed {seed}: {answers}");
    }
}

#[test]
fn a_job_without_a_result_is_told_to_the_handler_which_answers() {
    let answers = answers(1, Conditions { job_panics: Odds::ALWAYS, ..Conditions::calm() });
    assert_eq!(answers.matches("HTTP/1.1 500 ").count(), 6, "{answers}");
    assert_eq!(answers.matches("the job panicked: a panic of the simulation\n").count(), 6, "{answers}");
}
