//! Teaches: HTTP. It takes JSON and answers with JSON.
//!
//! ```text
//! cargo run --features http --example http -- 127.0.0.1:8080
//! curl -d '{"numbers": [1, 2, 3.5]}' http://127.0.0.1:8080/sum
//! ```

use std::env;

use serde_json::{Value, json};
use serve_forever::BoxError;
use serve_forever::http::{Http, HttpHandler, HttpIo, Method, Request, StatusCode};

struct Sums;

impl HttpHandler for Sums {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        let _ = match (request.path(), request.method()) {
            ("/sum", &Method::POST) => match serde_json::from_slice::<Value>(request.body()) {
                Ok(given) => {
                    let numbers = given["numbers"].as_array().into_iter().flatten();
                    let sum: f64 = numbers.filter_map(Value::as_f64).sum();
                    io.answer(StatusCode::OK).json(json!({ "sum": sum }).to_string())
                }
                Err(error) => io.answer(StatusCode::BAD_REQUEST).text(format!("{error}\n")),
            },
            ("/sum", _) => {
                io.answer(StatusCode::METHOD_NOT_ALLOWED).allow(&[Method::POST]).text("POST numbers\n")
            }
            _ => io.answer(StatusCode::NOT_FOUND).text("there is only /sum\n"),
        };
        Ok(())
    }
}

fn main() -> serve_forever::Result<()> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    serve_forever::serve(&at, Http::new(Sums))
}
