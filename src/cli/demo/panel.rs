//! What the demo shows: a live panel in a terminal, plain lines elsewhere.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph};
use tokio::time::{Instant, interval};

use super::super::print;
use super::traffic::Tally;
use crate::budget::breaker::Breaker;
use crate::gateway::control::Control;
use crate::ledger::alerts::{AlertRow, Level};
use crate::proxy::decision::Decision;
use crate::proxy::snapshot::{TeamEntry, UNATTRIBUTED};
use crate::simulator::Billed;

/// Who is watched, and until when.
pub(super) struct Scene {
    pub(super) control: Arc<Control>,
    pub(super) tally: Arc<Tally>,
    pub(super) until: Option<Instant>,
}

/// Frames of the panel a second, and how often the keyboard is asked.
const FRAME: Duration = Duration::from_millis(200);
/// The newest refusals on the panel.
const REFUSALS: usize = 6;

impl Scene {
    /// Plays until the reader leaves.
    pub(super) async fn play(&self, terminal: bool) {
        if terminal {
            self.panel().await
        } else {
            self.lines().await
        }
    }

    async fn panel(&self) {
        let mut terminal = ratatui::init();
        let mut frames = interval(FRAME);
        loop {
            frames.tick().await;
            let drawn = terminal.draw(|frame| self.draw(frame));
            if drawn.is_err() || wants_to_leave() {
                break;
            }
        }
        ratatui::restore();
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let snapshot = self.control.shared.snapshot.load_full();
        let teams: Vec<_> = snapshot
            .teams
            .iter()
            .filter(|team| &*team.name != UNATTRIBUTED)
            .collect();
        let heights = std::iter::once(Constraint::Length(1))
            .chain(teams.iter().map(|_| Constraint::Length(3)))
            .chain([Constraint::Min(3)]);
        let areas = Layout::vertical(heights).split(frame.area());
        let mut areas = areas.iter();
        if let Some(area) = areas.next() {
            frame.render_widget(self.title(), *area);
        }
        for (team, area) in teams.iter().zip(areas.by_ref()) {
            frame.render_widget(self.gauge(team), *area);
        }
        if let Some(area) = areas.next() {
            let lines: Vec<_> = self.refusals().into_iter().map(Line::from).collect();
            let block = Block::bordered().title(" last refusals ");
            frame.render_widget(Paragraph::new(lines).block(block), *area);
        }
    }

    fn title(&self) -> Paragraph<'_> {
        let left = self
            .until
            .map(|until| until.saturating_duration_since(Instant::now()).as_secs());
        let left = left.map_or_else(String::new, |seconds| format!("   {seconds} s left"));
        Paragraph::new(Line::from(vec![
            Span::from("breakerbox demo").bold(),
            Span::from(format!("{left}   q leaves")),
        ]))
    }

    fn gauge(&self, team: &TeamEntry) -> Gauge<'_> {
        let breaker = team.books.shown.get();
        let color = match breaker {
            Breaker::Closed => Color::Green,
            Breaker::Open => Color::Yellow,
            Breaker::Exhausted => Color::Red,
        };
        let percent = percent(team);
        let label = format!(
            "{percent} %  {}  {}",
            breaker.name(),
            self.answers(&team.name)
        );
        Gauge::default()
            .block(Block::bordered().title(format!(" {} ", team.name)))
            .gauge_style(Style::default().fg(color))
            .percent(percent.min(100))
            .label(label)
    }

    /// `critical 40 · background 12, 31 refused`.
    fn answers(&self, team: &str) -> String {
        let tally = self.tally.read();
        let of_team = tally.iter().filter(|((name, _), _)| *name == team);
        let told = of_team.map(|((_, class), answers)| match answers.refused {
            0 => format!("{class} {}", answers.passed),
            refused => format!("{class} {}, {refused} refused", answers.passed),
        });
        told.collect::<Vec<_>>().join(" · ")
    }

    fn refusals(&self) -> Vec<String> {
        let tell = |decision: Decision| {
            let team = decision.team.as_deref().unwrap_or("").to_owned();
            let class = decision.class.map_or("", |class| class.name());
            let operation = decision.operation.map_or("", |operation| operation.name());
            format!(
                "{team:10} {class:10} {operation:18} {}",
                decision.refusal.name()
            )
        };
        self.control
            .newest_decisions(REFUSALS)
            .into_iter()
            .map(tell)
            .collect()
    }

    /// A line a second, and one for each alert.
    async fn lines(&self) {
        let start = Instant::now();
        let mut seconds = interval(Duration::from_secs(1));
        let mut told = HashSet::new();
        loop {
            seconds.tick().await;
            let snapshot = self.control.shared.snapshot.load_full();
            let ledger = &self.control.shared.ledger;
            let alerts = ledger.alerts(snapshot.live.books.period.name).await;
            let (levels, _hours) = alerts.unwrap_or_default();
            for alert in levels {
                if told.insert((alert.team, alert.percent_bp)) {
                    print(&self.alert(&alert));
                }
            }
            let teams = snapshot
                .teams
                .iter()
                .filter(|team| &*team.name != UNATTRIBUTED);
            let teams = teams.map(|team| {
                format!(
                    "{} {} % {}",
                    team.name,
                    percent(team),
                    team.books.shown.get().name()
                )
            });
            let at = start.elapsed().as_secs();
            print(&format!(
                "{at:>3} s  {}\n",
                teams.collect::<Vec<_>>().join(" | ")
            ));
        }
    }

    fn alert(&self, alert: &AlertRow) -> String {
        let names = self.control.shared.ledger.teams();
        let name = usize::try_from(alert.team.0)
            .ok()
            .and_then(|at| names.get(at).cloned());
        let (level, name) = (alert.level.name(), name.unwrap_or_default());
        let (committed, allocation) = (alert.committed, alert.allocation);
        match alert.level {
            Level::Info | Level::Warning => {
                let percent = alert.percent_bp.div_euclid(100);
                format!(
                    "ALERT {level}: {name} passed {percent} % ({committed} of {allocation} credits)\n"
                )
            }
            Level::Critical => format!(
                "ALERT {level}: {name}'s breaker opened ({committed} of {allocation} credits)\n"
            ),
        }
    }
}

fn percent(team: &TeamEntry) -> u16 {
    let committed = i128::from(team.books.own.committed().micros());
    let allocation = i128::from(team.limits.allocation.micros());
    let percent = committed.saturating_mul(100).checked_div_euclid(allocation);
    percent
        .and_then(|percent| u16::try_from(percent).ok())
        .unwrap_or(0)
}

fn wants_to_leave() -> bool {
    while let Ok(true) = event::poll(Duration::ZERO) {
        if let Ok(Event::Key(key)) = event::read()
            && (key.code == KeyCode::Char('q') || key.code == KeyCode::Esc || is_interrupt(key))
        {
            return true;
        }
    }
    false
}

fn is_interrupt(key: event::KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(event::KeyModifiers::CONTROL)
}

/// What was seen, at the end: by team and class, and counted against billed.
pub(super) fn summary(control: &Control, tally: &Tally, billed: &Billed) -> String {
    let mut text = String::from("\nteam        class        forwarded    refused\n");
    // Writing to a String cannot fail.
    for ((team, class), answers) in tally.read() {
        _ = writeln!(
            text,
            "{team:10}  {class:10}  {:>10}  {:>9}",
            answers.passed, answers.refused
        );
    }
    let snapshot = control.shared.snapshot.load_full();
    let sums = crate::ledger::live::Sums::of(&snapshot.live);
    let counted = [sums.used, sums.burst, sums.overage]
        .into_iter()
        .sum::<Option<_>>();
    let counted = counted.unwrap_or(crate::budget::credits::MicroCredits::MAX);
    let really =
        crate::budget::credits::MicroCredits::from_micros(billed.guide.total_micro_credits);
    _ = writeln!(
        text,
        "\ncounted by breakerbox {counted} credits, billed by the simulated Salesforce {really} credits"
    );
    if counted != really {
        _ = writeln!(
            text,
            "(a call cut off at the end is counted by what was seen of it, or at its estimate)"
        );
    }
    text
}
