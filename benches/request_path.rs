//! Instructions of the request path's own work for a warm team: identify, price, admit, settle.
//!
//! Instructions are counted (valgrind), not seconds: the same on a busy machine. Goal: under 3,000.
//!
//! ```sh
//! cargo install gungraun-runner --version 0.20.0
//! cargo bench --bench request_path
//! ```
#![allow(
    missing_docs,
    unused_qualifications,
    clippy::unwrap_used,
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a bench, and what its macros make"
)]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwap;
use breakerbox::budget::credits::MicroCredits;
use breakerbox::budget::usage::Usage;
use breakerbox::clock;
use breakerbox::config::load::{self, Files, Sources};
use breakerbox::gateway::build::Builder;
use breakerbox::ledger::Ledger;
use breakerbox::ledger::event::RequestId;
use breakerbox::proxy::admit::{Admitted, admit};
use breakerbox::proxy::body::Progress;
use breakerbox::proxy::counters::WorkerCounters;
use breakerbox::proxy::decision::DecisionRings;
use breakerbox::proxy::desk::{Desk, Shared};
use breakerbox::proxy::headers::Present;
use breakerbox::proxy::idempotency::Idempotency;
use breakerbox::proxy::identify::{Claims, KEY, identify};
use breakerbox::proxy::sessions::Sessions;
use breakerbox::proxy::ticket::{Facts, Ticket};
use breakerbox::proxy::turns::Turns;
use breakerbox::rates::quote::Asked;
use breakerbox::salesforce::agent_api::Turn;
use breakerbox::salesforce::call::Price;
use breakerbox::salesforce::routes;
use breakerbox::salesforce::tap::Tap;
use breakerbox::salesforce::{NamedKind, sse};
use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;

/// As in the binary: what allocating costs is part of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PATH: &str = "/einstein/platform/v1/models/sfdc_ai__DefaultGPT4Omni/chat-generations";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SHA256: &str = "a8ae6e6ee929abea3afcfc5258c8ccd6f85273e0d4626d26c7279f3250f77c8e";
const ANSWER: &str = concat!(
    r#"{"id":"chatcmpl-1","generationDetails":{"generations":[{"id":"1","role":"assistant","content":"Three open."}],"#,
    r#""parameters":{"model":"gpt-4o","usage":{"completion_tokens":35,"prompt_tokens":91,"total_tokens":126}}}}"#
);

/// A desk with a team that has been busy: its key cached, its grant raised.
struct Warm {
    desk: Rc<Desk>,
    headers: HeaderMap,
    answer: Bytes,
    _folder: tempfile::TempDir,
}

fn files() -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = "[upstreams]\napi = \"http://127.0.0.1:1\"\norg = \"http://127.0.0.1:1\"\n";
    let allocations = format!(
        "[pool]\nannual_credits = 1_000_000_000\nannual_cost = {{ amount = \"5000000.00\", currency = \"USD\" }}\n\
         contract_start = \"2026-01-01\"\ntime_zone = \"UTC\"\nrate_card = \"flex-2026-08\"\nunattributed = \"refuse\"\n\
         [[team]]\nname = \"bench\"\nshare = \"80%\"\nowner = \"bench@example.com\"\n\
         [[key]]\nname = \"bench\"\nsha256 = \"{SHA256}\"\nteam = \"bench\"\n"
    );
    std::fs::write(folder.path().join("breakerbox.toml"), gateway).unwrap();
    std::fs::write(folder.path().join("allocations.toml"), allocations).unwrap();
    let sources = Sources::new(folder.path().join("breakerbox.toml"));
    (folder, sources)
}

fn warm() -> Warm {
    let (folder, sources) = files();
    let now = clock::now();
    let (checked, _) = load::check(&Files::read(&sources).unwrap(), now).unwrap();
    let (ledger, _) = Ledger::open(&checked.gateway.ledger, 1, now).unwrap();
    let period = checked.allocations.pool.calendar.period_at(now).unwrap();
    let mut builder = Builder::new(ledger.clone(), 1);
    let snapshot = builder
        .build(Arc::new(checked), &period, None, now)
        .unwrap();
    let _grown = builder.in_force(&snapshot);
    for team in &snapshot.teams {
        team.books.own.raise_grant(MicroCredits::MAX);
    }
    let shared = Arc::new(Shared {
        presences: ArcSwap::from_pointee(builder.presences()),
        snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        sessions: Sessions::default(),
        turns: Turns::default(),
        idempotency: Idempotency::default(),
        decisions: DecisionRings::new(1),
        counters: Arc::new(vec![WorkerCounters::default()]),
        draining: false.into(),
        ledger,
    });
    let sink = shared.ledger.sink(0);
    let desk = Rc::new(Desk::new(0, shared, sink, 1));
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("authorization", HeaderValue::from_static("Bearer x"));
    headers.insert(KEY, HeaderValue::from_static(SECRET));
    let warm = Warm {
        desk,
        headers,
        answer: Bytes::from_static(ANSWER.as_bytes()),
        _folder: folder,
    };
    for _ in 0..3 {
        one_request(&warm);
    }
    warm
}

fn one_request(warm: &Warm) {
    let desk = &warm.desk;
    let held = desk.held();
    let call = routes::recognise(&Method::POST, PATH).unwrap().unwrap();
    let Price::Paid(paid) = call.price else {
        return;
    };
    let asked = Asked {
        body_bytes: 103,
        model: "sfdc_ai__DefaultGPT4Omni",
        ..Asked::default()
    };
    let terms = held.card.quote(paid.operation, &asked);
    let now = clock::now();
    let claims = Claims {
        headers: &warm.headers,
        present: Present::of(&warm.headers),
        path_key: None,
        named: paid.named,
        now_ms: now.as_millisecond(),
    };
    let payer = identify(&held, &desk.keys, &claims).unwrap();
    let admitted = {
        let mut admitting = pin!(admit(desk, &held, &payer, &terms.quote, false, now));
        match admitting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(admitted) => admitted.unwrap(),
            Poll::Pending => return,
        }
    };
    let Admitted {
        reservation,
        continued,
        below_trip,
        fused,
        ..
    } = admitted;
    let facts = Facts {
        request: RequestId(1),
        at: now,
        started: Instant::now(),
        shadow: false,
        continued,
        below_trip,
        fused,
        asked: Usage::of_units(1),
    };
    let progress = Progress::new();
    let mut ticket = Ticket::new(
        Rc::clone(desk),
        held,
        payer,
        terms,
        reservation,
        None,
        None,
        facts,
        progress,
    );
    ticket.answered(StatusCode::OK, Tap::new(paid.endpoint, 1 << 20, true));
    ticket.pass(&warm.answer);
    ticket.finish();
    ticket.complete();
    drop(ticket);
}

#[library_benchmark]
#[bench::warm_team(warm())]
fn identify_price_admit_settle(warm: Warm) -> Warm {
    one_request(black_box(&warm));
    warm
}

#[library_benchmark]
#[bench::chat(PATH)]
fn recognise(path: &str) -> bool {
    black_box(routes::recognise(&Method::POST, black_box(path))).is_ok()
}

#[library_benchmark]
#[bench::cached(warm())]
fn identify_by_key(warm: Warm) -> Warm {
    let held = warm.desk.held();
    let named = Some((NamedKind::Model, "sfdc_ai__DefaultGPT4Omni"));
    let claims = Claims {
        headers: &warm.headers,
        present: Present::of(&warm.headers),
        path_key: None,
        named,
        now_ms: 0,
    };
    black_box(identify(&held, &warm.desk.keys, &claims)).unwrap();
    warm
}

/// Ten events of a turn as captured.
fn turn() -> Vec<u8> {
    let chunk = "event: TEXT_CHUNK\nid: 1-REQ\ndata: {\"timestamp\":17,\"offset\":1,\"message\":{\"type\":\"TextChunk\",\"message\":\"Here\"}}\n\n";
    let progress = "event: PROGRESS_INDICATOR\nid: 1-REQ\ndata: {\"offset\" :0,\"message\":{\"type\":\"ProgressIndicator\",\"indicatorType\":\"ACTION\" ,\"message\":\"Searching\"}}\n\n";
    let inform = "event: INFORM\nid: 1-REQ\ndata: {\"message\":{\"type\":\"Inform\",\"message\":\"done\",\"result\":[{\"type\":\"copilotActionOutput/Search_1\"}]}}\n\n";
    let end = "event: END_OF_TURN\nid: 1-REQ\ndata: {\"message\":{\"type\":\"EndOfTurn\"}}\n\n";
    [progress, &chunk.repeat(7), inform, end]
        .concat()
        .into_bytes()
}

#[library_benchmark]
#[bench::ten_events(turn())]
fn tap_a_stream(stream: Vec<u8>) -> u64 {
    let (mut reader, mut turn) = (sse::Reader::new(1 << 20), Turn::default());
    reader.read(black_box(&stream), &mut turn);
    black_box(turn.actions())
}

library_benchmark_group!(
    name = request_path,
    benchmarks = [
        identify_price_admit_settle,
        recognise,
        identify_by_key,
        tap_a_stream
    ]
);
main!(library_benchmark_groups = request_path);
