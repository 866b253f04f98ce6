//! When a change of the files counts.
//!
//! The *folders* of each file and of what it resolves to are watched, and looked up again after every event:
//! a renamed save, a swapped link of a mounted config map and a write through a link are all seen. A poll comes
//! behind. Content counts once two reads, [`SETTLE`] apart, agree: half a file can be valid TOML. Events of
//! other files cost at most one look each `PAUSE` and delay nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::faults::Faults;
use super::load::{Files, Sources};

/// Between the two reads that must agree.
pub const SETTLE: Duration = Duration::from_millis(300);
/// Where no event comes: network file systems, and whatever else notify misses.
pub const POLL: Duration = Duration::from_secs(30);
/// Between two looks: a database beside the files is written many times a second.
const PAUSE: Duration = Duration::from_millis(100);

/// What was read: the files, or why they cannot be.
pub type Content = Result<Files, Faults>;

/// Watches the files of a configuration.
pub struct Watch {
    sources: Sources,
    /// What the owner was last given, good or bad.
    seen: Content,
    /// What differs from that and has been read once. Kept here, so that a dropped `next` loses nothing.
    unsettled: Option<Unsettled>,
    looked: Instant,
    look_at: Instant,
    poke: Poke,
    pokes: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

struct Unsettled {
    content: Content,
    read: Instant,
}

/// Makes a [`Watch`] look at once.
#[derive(Clone, Debug)]
struct Poke(mpsc::Sender<()>);

impl Poke {
    /// Look now; the owner hears of it only if something changed.
    fn poke(&self) {
        // A full queue means that the look is on its way.
        let _on_its_way = self.0.try_send(());
    }
}

impl Watch {
    /// Watches for changes against what was read at the start.
    pub fn new(sources: &Sources, files: &Files) -> Self {
        let mut watch = Self::polling(sources, files);
        let poke = watch.poke.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_only_a_read(event.kind)) {
                return;
            }
            poke.poke();
        });
        watch.watcher = watcher
            .inspect_err(
                |error| tracing::warn!(%error, "files cannot be watched; polling every 30 s"),
            )
            .ok();
        watch.follow();
        watch
    }

    /// Without events: the poll is all there is.
    fn polling(sources: &Sources, files: &Files) -> Self {
        // One is enough: a poke only says "look".
        let (sender, pokes) = mpsc::channel(1);
        let now = Instant::now();
        Self {
            sources: sources.clone(),
            seen: Ok(files.clone()),
            unsettled: None,
            looked: now,
            // The files may have changed since they were read.
            look_at: now,
            poke: Poke(sender),
            pokes,
            watcher: None,
            folders: BTreeSet::new(),
        }
    }

    /// The next content that differs from the last, good or bad, once it has settled. May be dropped and called
    /// again at any await.
    ///
    /// # Errors
    /// Every file that cannot be read.
    pub async fn next(&mut self) -> Content {
        loop {
            if self.unsettled.is_none() {
                self.changed().await;
            }
            if let Some(content) = self.settled().await
                && content != self.seen
            {
                self.seen = content.clone();
                return content;
            }
        }
    }

    /// What the files say now, settled, whether it is new or not. Whoever was given it here is not given it by
    /// [`Watch::next`] again. May be dropped and called again at any await.
    ///
    /// # Errors
    /// Every file that cannot be read.
    pub async fn reread(&mut self) -> Content {
        let content = loop {
            if self.unsettled.is_none() {
                self.look();
            }
            if let Some(content) = self.settled().await {
                break content;
            }
        };
        self.seen = content.clone();
        content
    }

    /// Waits for an event or the poll until the content is no longer what was seen.
    async fn changed(&mut self) {
        loop {
            tokio::select! {
                () = sleep_until(self.look_at) => {
                    self.look();
                    if self.unsettled.as_ref().is_some_and(|new| new.content != self.seen) {
                        return;
                    }
                    self.unsettled = None;
                }
                // Never `None`: a sender is among our own fields.
                _poked = self.pokes.recv() => {
                    self.look_at = self.look_at.min(at(self.looked, PAUSE));
                }
            }
        }
    }

    /// Waits for the second read; `None`, and another round, where it does not agree with the first.
    async fn settled(&mut self) -> Option<Content> {
        sleep_until(at(self.unsettled.as_ref()?.read, SETTLE)).await;
        let first = self.unsettled.take()?;
        self.look();
        let second = self.unsettled.as_ref()?;
        if second.content != first.content {
            return None;
        }
        self.unsettled.take().map(|second| second.content)
    }

    /// Watches the folders the files are in now, then reads: what changes after the read comes as an event.
    fn look(&mut self) {
        self.follow();
        let content = Files::read(&self.sources);
        let now = Instant::now();
        (self.looked, self.look_at) = (now, at(now, POLL));
        self.unsettled = Some(Unsettled { content, read: now });
    }

    fn follow(&mut self) {
        let Some(watcher) = self.watcher.as_mut() else {
            return;
        };
        let folders = folders(&self.sources);
        for gone in self.folders.difference(&folders) {
            // A folder that was removed is not watched any more anyway.
            let _removed = watcher.unwatch(gone);
        }
        for folder in &folders {
            // Watching again is harmless, and needed where a folder of the same name is a new one.
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, folder = %folder.display(), "folder cannot be watched");
            }
        }
        self.folders = folders;
    }
}

/// Our own reads raise events too, and must not cause the next read.
const fn is_only_a_read(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => !matches!(
            access,
            AccessKind::Close(AccessMode::Write | AccessMode::Any)
        ),
        _ => false,
    }
}

/// `after` from an instant of this process; far from the end of time.
fn at(start: Instant, after: Duration) -> Instant {
    start.checked_add(after).unwrap_or(start)
}

/// The folders of all files, of the links on the way, and of what they resolve to.
fn folders(sources: &Sources) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::from([sources.folder().to_owned()]);
    let rates = sources.rates();
    if rates.is_dir() {
        folders.extend(std::fs::canonicalize(&rates).ok());
        folders.insert(rates);
    }
    for file in sources.files() {
        folders.extend(parent(&file));
        // One link of several: `..data` in a mounted config map.
        if let (Ok(target), Some(folder)) = (std::fs::read_link(&file), parent(&file)) {
            folders.extend(parent(&folder.join(target)).filter(|folder| folder.is_dir()));
        }
        let resolved = std::fs::canonicalize(&file).ok();
        folders.extend(resolved.and_then(|resolved| parent(&resolved)));
    }
    folders
}

fn parent(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        parent.to_owned()
    })
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
