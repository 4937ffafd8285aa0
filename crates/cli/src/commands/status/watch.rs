//! `status --watch`: follows a channel for as long as somebody looks.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Result;
use driftless_client::{
    Client, Error,
    types::{Channel, ChannelStatus, Cluster},
};
use driftless_model::{
    name::{ChannelName, ClusterName},
    selector::Selector,
};
use futures::StreamExt as _;

use super::{is_selected, summary::Summary};
use crate::{
    failure::Outcome,
    now,
    output::{self, Output},
};

/// Ages on the screen grow without news from the server.
const REDRAW: Duration = Duration::from_secs(1);
/// Between two tries to reach a server that is gone.
const RECONNECT: Duration = Duration::from_secs(1);

/// What to follow, and how long.
#[derive(Clone, Copy)]
pub(super) struct Follow<'a> {
    pub(super) client: &'a Client,
    pub(super) channel: &'a ChannelName,
    /// Only these clusters.
    pub(super) selector: &'a Selector,
    /// Stop once all of them are converged and healthy?
    pub(super) until_settled: bool,
}

impl Follow<'_> {
    /// Shows the channel until the reader goes away, or until it is settled or `timeout` is over.
    pub(super) async fn run(self, output: &Output, timeout: Option<Duration>) -> Result<Outcome> {
        let mut screen = Screen::new(output, self.until_settled);
        let followed = self.follow(&mut screen);
        let outcome = match timeout {
            None => followed.await.map(|()| Outcome::Success)?,
            Some(timeout) => match tokio::time::timeout(timeout, followed).await {
                Ok(settled) => settled.map(|()| Outcome::Success)?,
                Err(_) => Outcome::Found,
            },
        };
        screen.end()?;
        Ok(outcome)
    }

    /// Outlives restarts of the server.
    async fn follow(self, screen: &mut Screen<'_>) -> Result<()> {
        let mut started = false;
        loop {
            match self.follow_once(screen).await {
                Ok(true) => return Ok(()),
                Ok(false) => started = true,
                Err(error) => {
                    let passing = error.downcast_ref::<Error>().is_some_and(Error::is_retryable);
                    if !passing || !(started || screen.has_shown()) {
                        return Err(error);
                    }
                    screen.say(&format!("the server is away ({error:#}); trying again"))?;
                }
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// Gives whether all is settled; not when the server ended the stream.
    async fn follow_once(self, screen: &mut Screen<'_>) -> Result<bool> {
        let mut stream = self.client.watch_channel(self.channel).await?;
        let mut clusters: BTreeMap<ClusterName, Cluster> = BTreeMap::new();
        let mut record: Option<Channel> = None;
        let mut redraw = tokio::time::interval(REDRAW);
        loop {
            tokio::select! {
                status = stream.next() => {
                    let Some(status) = status else { return Ok(false) };
                    let ChannelStatus { channel, clusters: changed, retired } = status?;
                    clusters.extend(changed.into_iter().map(|cluster| (cluster.name.clone(), cluster)));
                    clusters.retain(|name, cluster| cluster.channel == channel.name && !retired.contains(name));
                    record = Some(channel);
                }
                _ = redraw.tick() => {}
            }
            if let Some(channel) = &record {
                let selected = clusters.values().filter(|cluster| is_selected(self.selector, cluster));
                let all: Vec<_> = selected.cloned().collect();
                let summary = Summary::of(channel.clone(), &all);
                let is_settled = self.until_settled && summary.is_settled();
                screen.show(summary)?;
                if is_settled {
                    return Ok(true);
                }
            }
        }
    }
}

/// Where a watch is shown.
struct Screen<'a> {
    output: &'a Output,
    mode: Mode,
    /// What was shown last.
    last: Option<Summary>,
    /// Lines on the terminal that the next picture replaces.
    drawn: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A picture that is drawn over and over.
    Live,
    /// A line per change.
    Lines,
    /// A document per change.
    Documents,
    /// A document at the end.
    Last,
}

impl<'a> Screen<'a> {
    fn new(output: &'a Output, until_settled: bool) -> Self {
        let mode = match output.is_text() {
            false if until_settled => Mode::Last,
            false => Mode::Documents,
            true if std::io::stdout().is_terminal() => Mode::Live,
            true => Mode::Lines,
        };
        Self {
            output,
            mode,
            last: None,
            drawn: 0,
        }
    }

    fn has_shown(&self) -> bool {
        self.last.is_some()
    }

    fn show(&mut self, summary: Summary) -> Result<()> {
        match self.mode {
            Mode::Live => self.draw(&summary.text(now()))?,
            Mode::Documents if self.last.as_ref() != Some(&summary) => self.output.print_next(&summary)?,
            Mode::Lines if self.last.as_ref().map(Summary::line) != Some(summary.line()) => {
                output::write(&format!("{} {}\n", now().strftime("%H:%M:%SZ"), summary.line()))?;
            }
            Mode::Documents | Mode::Lines | Mode::Last => {}
        }
        self.last = Some(summary);
        Ok(())
    }

    /// Shows what was kept for the end.
    fn end(self) -> Result<()> {
        match self.last {
            Some(last) if self.mode == Mode::Last => self.output.print(&last, |_| String::new()),
            _ => Ok(()),
        }
    }

    /// Tells what is no state of the channel.
    fn say(&mut self, text: &str) -> Result<()> {
        match (self.mode, &self.last) {
            (Mode::Live, Some(last)) => {
                let picture = format!("{}\n\n{}", output::warn(text), last.text(now()));
                self.draw(&picture)
            }
            _ => {
                output::note(text);
                Ok(())
            }
        }
    }

    fn draw(&mut self, picture: &str) -> Result<()> {
        let (width, height) = output::size().unwrap_or((80, 24));
        // A picture taller than the terminal would scroll, and could not be drawn over.
        let lines: Vec<_> = picture
            .lines()
            .take(height.saturating_sub(1))
            .map(|line| output::cut(line, width))
            .collect();
        let up = if self.drawn > 0 {
            format!("\x1b[{}A", self.drawn)
        } else {
            String::new()
        };
        let text = format!("{up}\r\x1b[J{}\n", lines.join("\n"));
        self.drawn = lines.len();
        // Written past `anstream`, which would take the cursor's moves away; a terminal it is.
        let mut stdout = std::io::stdout().lock();
        output::closed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
    }
}
