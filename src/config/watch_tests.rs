//! Real folders and real time: each test waits for a condition, with a deadline.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Far more than a change takes, and less than the poll: what arrives came by an event.
const DEADLINE: Duration = Duration::from_secs(10);
/// Long enough for a change to have settled, had there been one.
const NOTHING: Duration = Duration::from_secs(1);

struct Stage {
    folder: TempDir,
    watch: Watch,
}

impl Stage {
    fn new() -> Self {
        Self::with(|folder| {
            fs::write(folder.join("breakerbox.toml"), "gateway").unwrap();
            fs::write(folder.join("allocations.toml"), "first").unwrap();
        })
    }

    fn with(lay: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        lay(folder.path());
        let sources = Sources::new(folder.path().join("breakerbox.toml"));
        let files = Files::read(&sources).unwrap();
        let watch = Watch::new(&sources, &files);
        Self { folder, watch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Waits for new content, and compares it with what the files say in the end.
    async fn check(&mut self, what: &str) {
        let content = timeout(DEADLINE, self.watch.next()).await;
        let content = content.unwrap_or_else(|_| panic!("{what}: nothing came"));
        assert_eq!(content, Files::read(&self.watch.sources), "{what}");
    }

    async fn check_nothing(&mut self, what: &str) {
        let content = timeout(NOTHING, self.watch.next()).await;
        assert!(content.is_err(), "{what}: {content:?}");
    }
}

#[tokio::test]
async fn every_way_to_save_counts() {
    let mut stage = Stage::new();
    stage.check_nothing("unchanged").await;

    stage.write("allocations.toml", "second");
    stage.check("written in place").await;

    stage.write("new", "third");
    fs::rename(stage.path("new"), stage.path("allocations.toml")).unwrap();
    stage.check("renamed over").await;

    fs::create_dir(stage.path("rates")).unwrap();
    stage.write("rates/own.toml", "card");
    stage.check("a card in a new folder").await;
    stage.write("rates/own.toml", "dearer");
    stage.check("a card changed").await;
    fs::remove_dir_all(stage.path("rates")).unwrap();
    stage.check("the folder removed").await;

    stage.write("allocations.toml", "");
    stage.check("emptied").await;
    fs::remove_file(stage.path("allocations.toml")).unwrap();
    stage.check("removed").await;
    assert!(stage.watch.seen.is_err());
    stage.write("allocations.toml", "first");
    stage.check("back").await;
}

#[tokio::test]
async fn what_changed_before_the_first_look_counts() {
    let stage = Stage::new();
    let sources = stage.watch.sources.clone();
    let files = Files::read(&sources).unwrap();
    stage.write("allocations.toml", "second");
    let watch = Watch::new(&sources, &files);
    let mut stage = Stage { watch, ..stage };
    stage.check("changed while starting").await;
}

/// Edits `allocations.toml` to `texts`, half a settling time apart, on a clock that moves when told.
async fn check_settling(texts: &[&str], counts: bool) {
    let Stage { folder, watch } = Stage::new();
    let files = Files::read(&watch.sources).unwrap();
    let mut watch = Watch::polling(&watch.sources, &files);
    let poke = watch.poke.clone();
    let edits = async {
        for text in texts {
            fs::write(folder.path().join("allocations.toml"), text).unwrap();
            poke.poke();
            tokio::time::sleep(SETTLE / 2).await;
        }
    };
    let (content, ()) = tokio::join!(timeout(NOTHING, watch.next()), edits);
    if !counts {
        return assert!(content.is_err(), "{texts:?}: {content:?}");
    }
    assert_eq!(content.unwrap(), Files::read(&watch.sources), "{texts:?}");
    let more = timeout(NOTHING, watch.next()).await;
    assert!(more.is_err(), "{texts:?}: it was one change");
}

#[tokio::test(start_paused = true)]
async fn content_counts_once_two_reads_agree() {
    check_settling(&["second"], true).await;
    check_settling(&["half", "half and half"], true).await;
    check_settling(&["a", "b", "c", "d"], true).await;
    check_settling(&["second", "first"], false).await;
}

#[tokio::test]
async fn a_config_map_swap_counts() {
    // As the kubelet does it: files are links into ..data, a link to a dated folder, which is swapped.
    let publish = |folder: &Path, dated: &str, text: &str| {
        let dated_folder = folder.join(dated);
        fs::create_dir(&dated_folder).unwrap();
        fs::write(dated_folder.join("breakerbox.toml"), "gateway").unwrap();
        fs::write(dated_folder.join("allocations.toml"), text).unwrap();
        symlink(dated, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let mut stage = Stage::with(|folder| {
        publish(folder, "..1", "first");
        for name in ["breakerbox.toml", "allocations.toml"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    });
    for (dated, before, text) in [("..2", "..1", "second"), ("..3", "..2", "third")] {
        publish(stage.folder.path(), dated, text);
        fs::remove_dir_all(stage.path(before)).unwrap();
        stage.check(dated).await;
    }
}

#[tokio::test]
async fn a_write_through_a_link_counts() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("budget.toml");
    fs::write(&target, "first").unwrap();
    let mut stage = Stage::with(|folder| {
        fs::write(folder.join("breakerbox.toml"), "gateway").unwrap();
        symlink(&target, folder.join("allocations.toml")).unwrap();
    });
    fs::write(&target, "second").unwrap();
    stage.check("written").await;
    let saved = elsewhere.path().join("saved");
    fs::write(&saved, "third").unwrap();
    fs::rename(&saved, &target).unwrap();
    stage.check("renamed").await;
}

#[tokio::test]
async fn other_files_delay_nothing_and_cost_little() {
    let mut stage = Stage::new();
    let path = stage.path("allocations.toml");
    let other = stage.path("breakerbox.db-wal");
    let noise = async {
        for count in 0_u32.. {
            fs::write(&other, count.to_string()).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    fs::write(&path, "second").unwrap();
    tokio::select! {
        content = timeout(DEADLINE, stage.watch.next()) => {
            let content = content.expect("no pause in the noise is waited for");
            assert_eq!(content, Files::read(&stage.watch.sources));
        }
        () = noise => {}
    }
}

/// The owner waits for other things too, and drops `next` for each of them.
#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let mut stage = Stage::new();
    stage.write("allocations.toml", "second");
    let started = Instant::now();
    let content = loop {
        let soon = timeout(SETTLE / 10, stage.watch.next()).await;
        if let Ok(content) = soon {
            break content;
        }
        assert!(started.elapsed() < DEADLINE, "nothing came");
    };
    assert_eq!(content, Files::read(&stage.watch.sources));
}

#[tokio::test]
async fn own_reads_cause_no_reads() {
    let mut stage = Stage::new();
    stage.check_nothing("the first look").await;
    let looked = stage.watch.looked;
    stage.check_nothing("nobody writes").await;
    assert_eq!(stage.watch.looked, looked);
}

#[tokio::test]
async fn a_reread_is_given_once() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.watch.reread().await,
        Files::read(&stage.watch.sources)
    );
    stage.write("allocations.toml", "second");
    assert_eq!(
        stage.watch.reread().await,
        Files::read(&stage.watch.sources)
    );
    stage.check_nothing("it is known").await;
}

#[tokio::test(start_paused = true)]
async fn without_events_the_poll_finds_it() {
    let Stage { folder, watch } = Stage::new();
    let files = Files::read(&watch.sources).unwrap();
    let mut watch = Watch::polling(&watch.sources, &files);
    let wait = timeout(POLL / 2, watch.next()).await;
    assert!(wait.is_err(), "the first look finds nothing new");
    fs::write(folder.path().join("allocations.toml"), "second").unwrap();
    let started = Instant::now();
    let content = watch.next().await;
    assert_eq!(content, Files::read(&watch.sources));
    assert!(
        started.elapsed() <= POLL + SETTLE,
        "{:?}",
        started.elapsed()
    );

    fs::write(folder.path().join("allocations.toml"), "third").unwrap();
    watch.poke.poke();
    let started = Instant::now();
    assert_eq!(watch.next().await, Files::read(&watch.sources));
    assert!(
        started.elapsed() <= PAUSE + SETTLE,
        "{:?}",
        started.elapsed()
    );
}
