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
use driftless_model::name::{ChannelName, ClusterName};
use futures::StreamExt as _;

use super::summary::Summary;
use crate::{now, output};

/// Ages on the screen grow without news from the server.
const REDRAW: Duration = Duration::from_secs(1);
/// Between two tries to reach a server that is gone.
const RECONNECT: Duration = Duration::from_secs(1);

/// Shows the channel until the reader goes away. Outlives restarts of the server.
pub(super) async fn follow(client: &Client, channel: &ChannelName, json: bool) -> Result<()> {
    let mut screen = Screen::new(json);
    let mut started = false;
    loop {
        match follow_once(client, channel, &mut screen).await {
            Ok(()) => started = true,
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

async fn follow_once(client: &Client, channel: &ChannelName, screen: &mut Screen) -> Result<()> {
    let mut stream = client.watch_channel(channel).await?;
    let mut clusters: BTreeMap<ClusterName, Cluster> = BTreeMap::new();
    let mut record: Option<Channel> = None;
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            status = stream.next() => {
                let Some(status) = status else { return Ok(()) };
                let ChannelStatus { channel, clusters: changed } = status?;
                clusters.extend(changed.into_iter().map(|cluster| (cluster.name.clone(), cluster)));
                record = Some(channel);
            }
            _ = redraw.tick() => {}
        }
        if let Some(channel) = &record {
            let all: Vec<_> = clusters.values().cloned().collect();
            screen.show(Summary::of(channel.clone(), &all))?;
        }
    }
}

/// Where a watch is shown.
struct Screen {
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
    /// A JSON document in one line per change.
    Json,
}

impl Screen {
    fn new(json: bool) -> Self {
        let mode = match json {
            true => Mode::Json,
            false if std::io::stdout().is_terminal() => Mode::Live,
            false => Mode::Lines,
        };
        Self {
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
            Mode::Json if self.last.as_ref() != Some(&summary) => {
                output::write(&format!("{}\n", serde_json::to_string(&summary)?))?;
            }
            Mode::Lines if self.last.as_ref().map(Summary::line) != Some(summary.line()) => {
                output::write(&format!("{} {}\n", now().strftime("%H:%M:%SZ"), summary.line()))?;
            }
            Mode::Json | Mode::Lines => {}
        }
        self.last = Some(summary);
        Ok(())
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
        let size = terminal_size::terminal_size();
        let (width, height) = size.map_or((80, 24), |(width, height)| {
            (usize::from(width.0), usize::from(height.0))
        });
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
