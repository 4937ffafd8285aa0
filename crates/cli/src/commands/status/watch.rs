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
use crate::{
    now,
    output::{self, Output},
};

/// Ages on the screen grow without news from the server.
const REDRAW: Duration = Duration::from_secs(1);
/// Between two tries to reach a server that is gone.
const RECONNECT: Duration = Duration::from_secs(1);

/// Shows the channel until the reader goes away. Outlives restarts of the server.
pub(super) async fn follow(client: &Client, channel: &ChannelName, output: &Output) -> Result<()> {
    let mut screen = Screen::new(output);
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

async fn follow_once(client: &Client, channel: &ChannelName, screen: &mut Screen<'_>) -> Result<()> {
    let mut stream = client.watch_channel(channel).await?;
    let mut clusters: BTreeMap<ClusterName, Cluster> = BTreeMap::new();
    let mut record: Option<Channel> = None;
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            status = stream.next() => {
                let Some(status) = status else { return Ok(()) };
                let ChannelStatus { channel, clusters: changed, retired } = status?;
                clusters.extend(changed.into_iter().map(|cluster| (cluster.name.clone(), cluster)));
                clusters.retain(|name, cluster| cluster.channel == channel.name && !retired.contains(name));
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
}

impl<'a> Screen<'a> {
    fn new(output: &'a Output) -> Self {
        let mode = match output.is_text() {
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
            Mode::Documents | Mode::Lines => {}
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
