//! `allocations.toml` edited under load: acts within two seconds, no request fails; a broken file changes nothing.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::http::{Connection, call};
use crate::stage::{CHAT, MODEL_PATH, SALES_KEY, Stage, allocations, series, wait_for};

pub(crate) const QUICKLY: Duration = Duration::from_secs(2);

pub(crate) fn with_share(share: &str) -> String {
    allocations("guide", "12_000_000_000")
        .replace("share = \"35%\"", &format!("share = \"{share}\""))
}

/// Runs `edit` while eight clients call; every call must succeed and every credit be counted.
pub(crate) fn under_load(stage: &Stage, edit: impl FnOnce()) {
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let before: u64 = stage.team("sales", "used").parse().expect("whole credits");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = Connection::open(stage.proxy());
                while !stop.load(Ordering::Relaxed) {
                    let headers = [("Breakerbox-Key", SALES_KEY)];
                    let reply = connection
                        .call("POST", MODEL_PATH, &headers, CHAT)
                        .expect("an answer");
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stops = Stops(&stop); // also when the edit panics
        edit();
    });
    let used: u64 = stage.team("sales", "used").parse().expect("whole credits");
    assert_eq!(
        used - before,
        calls.load(Ordering::Relaxed),
        "no count is lost"
    );
}

struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn acts_within_two_seconds(stage: &Stage, allocation: &str) {
    let started = Instant::now();
    wait_for(allocation, QUICKLY, || {
        stage.team("sales", "allocation") == allocation
    });
    assert!(started.elapsed() < QUICKLY);
}

#[test]
fn a_saved_file_acts_on_the_next_request() {
    let stage = Stage::start(&with_share("35%"));
    let file = stage.files.allocations();
    under_load(&stage, || {
        // As an editor saves: a new file renamed over the old one.
        let saved = file.with_extension("new");
        std::fs::write(&saved, with_share("40%")).expect("write");
        std::fs::rename(&saved, &file).expect("rename");
        acts_within_two_seconds(&stage, "400000000");
        // In place.
        std::fs::write(&file, with_share("45%")).expect("write");
        acts_within_two_seconds(&stage, "450000000");
    });
    assert_eq!(
        series(
            &stage.metrics(),
            "breakerbox_config_reloads_total{result=\"accepted\"}"
        ),
        "2"
    );
}

#[test]
fn a_config_map_swap_is_seen() {
    let stage = Stage::start(&with_share("35%"));
    let (folder, file) = (stage.files.folder.path(), stage.files.allocations());
    // As the kubelet does it: the file is a link into ..data, a link to a dated folder, which is swapped.
    let publish = |name: &str, share: &str| {
        let dated = folder.join(name);
        std::fs::create_dir(&dated).expect("folder");
        std::fs::write(dated.join("allocations.toml"), with_share(share)).expect("write");
        symlink(name, folder.join("..data_tmp")).expect("link");
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swap");
    };
    under_load(&stage, || {
        publish("..1", "36%");
        let link = file.with_extension("link");
        symlink(Path::new("..data/allocations.toml"), &link).expect("link");
        std::fs::rename(&link, &file).expect("rename");
        acts_within_two_seconds(&stage, "360000000");
        publish("..2", "37%");
        acts_within_two_seconds(&stage, "370000000");
        publish("..3", "38%");
        acts_within_two_seconds(&stage, "380000000");
    });
}

#[test]
fn a_bad_file_changes_nothing_and_is_said_everywhere() {
    let stage = Stage::start(&with_share("35%"));
    let file = stage.files.allocations();
    let rejected = |stage: &Stage| {
        let count = series(
            &stage.metrics(),
            "breakerbox_config_reloads_total{result=\"rejected\"}",
        );
        count.parse::<u64>().expect("a count")
    };
    let whole = with_share("40%");
    under_load(&stage, || {
        let half = &whole[..whole.find("[[agent]]").expect("agents") + 12];
        let broken = whole.replace("40%", "140%");
        for (at, content) in [broken.as_str(), "", half].into_iter().enumerate() {
            std::fs::write(&file, content).expect("write");
            let want = u64::try_from(at).expect("small") + 1;
            wait_for("rejected", QUICKLY, || rejected(&stage) >= want);
            assert_eq!(stage.team("sales", "allocation"), "350000000");
            let told = stage.ask("/api/v1/config")["last_rejected"].to_string();
            assert!(told.contains("allocations.toml"), "{told}");
        }
        std::fs::write(&file, &whole).expect("write");
        acts_within_two_seconds(&stage, "400000000");
    });
    assert!(stage.ask("/api/v1/config")["last_rejected"].is_null());
}

#[test]
fn dropping_more_than_half_the_teams_must_be_forced() {
    let stage = Stage::start(&with_share("35%"));
    let text = with_share("35%");
    let (head, rest) = text.split_once("[[team]]").expect("teams");
    let (_, agents) = rest.split_once("[[agent]]").expect("agents");
    let sales_only = format!(
        "{head}[[team]]\nname = \"other\"\nshare = \"10%\"\nowner = \"o@example.com\"\n[[agent]]{}",
        agents
            .replace("\"sales\"", "\"other\"")
            .replace("\"support\"", "\"other\"")
    );
    let reload = |query: &str| {
        call(
            stage.admin(),
            "POST",
            &format!("/api/v1/config/reload{query}"),
            &[],
            "",
        )
    };
    std::fs::write(stage.files.allocations(), sales_only).expect("write");
    let reply = reload("");
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert!(reply.text().contains("force"), "{}", reply.text());
    assert_eq!(reload("?force=true").status, 200);
    assert_eq!(
        crate::http::get(stage.admin(), "/api/v1/teams/sales").status,
        404
    );
}

#[test]
fn a_removed_teams_counts_come_back_with_it() {
    let stage = Stage::start(&with_share("35%"));
    for _ in 0..3 {
        stage.post(MODEL_PATH, &[("Breakerbox-Key", SALES_KEY)], CHAT);
    }
    let pool = || stage.ask("/api/v1/pool")["used"].to_string();
    assert_eq!(
        (stage.team("sales", "used"), pool()),
        ("3".to_owned(), "3".to_owned())
    );
    let renamed = with_share("35%").replace("\"sales\"", "\"sales2\"");
    let reload = || call(stage.admin(), "POST", "/api/v1/config/reload", &[], "").status;
    std::fs::write(stage.files.allocations(), renamed).expect("write");
    assert_eq!(reload(), 200);
    assert_eq!(
        (stage.team("sales2", "used"), pool()),
        ("0".to_owned(), "3".to_owned())
    );
    std::fs::write(stage.files.allocations(), with_share("35%")).expect("write");
    assert_eq!(reload(), 200);
    assert_eq!(
        (stage.team("sales", "used"), pool()),
        ("3".to_owned(), "3".to_owned())
    );
}
