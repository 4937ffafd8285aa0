//! Questions to agents: who is asked what, and what is said when nobody answers.

use driftless_proto::v1::{self, agent_message::Message as FromAgent, server_message::Message as ToAgent};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::support::{Agent, Rig, Stream, assert_refused, bundle, soon};

/// Opens the stream of an agent that answers probes, and takes in what is told to all.
async fn answering(rig: &Rig, agent: &Agent) -> Stream {
    let hello = v1::Hello {
        answers_probes: true,
        ..v1::Hello::default()
    };
    let mut stream = agent.sync_saying(rig, hello).await.expect("the stream opens");
    stream.welcome().await;
    stream.directive().await;
    stream
}

async fn probe(stream: &mut Stream) -> v1::Probe {
    loop {
        match stream.next().await.expect("the stream is open") {
            ToAgent::Probe(probe) => return probe,
            ToAgent::Directive(_) => {}
            other => panic!("not a probe: {other:?}"),
        }
    }
}

async fn dry_run(rig: &Rig, request: v1::DryRunRequest) -> Result<v1::DryRunResponse, Status> {
    let response = rig.fleet().await.dry_run(request).await?;
    Ok(response.into_inner())
}

fn about(cluster: &str) -> v1::DryRunRequest {
    v1::DryRunRequest {
        cluster: cluster.to_owned(),
        ..v1::DryRunRequest::default()
    }
}

async fn asking(rig: &Rig, request: v1::DryRunRequest) -> JoinHandle<Result<v1::DryRunResponse, Status>> {
    let mut fleet = rig.fleet().await;
    tokio::spawn(async move { Ok(fleet.dry_run(request).await?.into_inner()) })
}

fn answer(id: u64) -> FromAgent {
    FromAgent::ProbeResult(v1::ProbeResult {
        id,
        notes: vec!["answered".to_owned()],
        ..v1::ProbeResult::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_is_asked_about_the_channels_snapshot_and_its_answer_comes_back() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let agent = rig.agent("edge", "prod").await;
    let mut stream = answering(&rig, &agent).await;
    assert_refused(
        dry_run(&rig, about("edge")).await,
        Code::FailedPrecondition,
        &["nothing was pushed to channel `prod` yet"],
    );
    let pushed = rig.push("prod", &bundle("shop", "1")).await;
    let mut request = about("edge");
    request.component = "shop".to_owned();
    let asked = asking(&rig, request).await;
    let probe_of_shop = probe(&mut stream).await;
    assert_eq!(probe_of_shop.snapshot, pushed.snapshot);
    assert_eq!(
        (probe_of_shop.component.as_str(), probe_of_shop.deadline_seconds),
        ("shop", 30)
    );

    // One at a time: whoever comes meanwhile is told so, and an answer to another question is none.
    assert_refused(
        dry_run(&rig, about("edge")).await,
        Code::FailedPrecondition,
        &["a dry run of cluster `edge` is under way already"],
    );
    stream.send(answer(probe_of_shop.id + 1000)).await;
    stream.send(answer(probe_of_shop.id)).await;
    let response = soon(asked).await.unwrap().unwrap();
    assert_eq!(response.snapshot, pushed.snapshot);
    assert_eq!(response.result.unwrap().notes, ["answered"]);

    // Another snapshot, and another channel.
    let before = pushed.snapshot;
    rig.push("prod", &bundle("shop", "2")).await;
    let mut request = about("edge");
    request.snapshot = Some(before.clone());
    let asked = asking(&rig, request).await;
    let other = probe(&mut stream).await;
    assert_eq!(other.snapshot, before);
    let cannot = v1::ProbeResult {
        id: other.id,
        failure: "no way".to_owned(),
        ..v1::ProbeResult::default()
    };
    stream.send(FromAgent::ProbeResult(cannot)).await;
    assert_refused(
        soon(asked).await.unwrap(),
        Code::FailedPrecondition,
        &["the agent of cluster `edge` cannot tell: no way"],
    );
    let mut request = about("edge");
    request.channel = "none".to_owned();
    assert_refused(
        dry_run(&rig, request).await,
        Code::NotFound,
        &["there is no channel `none`"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_be_asked_is_said_to_be_unknown_away_new_or_too_old() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    rig.push("prod", &bundle("shop", "1")).await;
    rig.enroll("new", "prod", false).await;
    let away = rig.agent("away", "prod").await;
    let old = rig.agent("old", "prod").await;
    let mut stream = old.sync(&rig).await.unwrap();
    stream.welcome().await;
    drop(away);
    for (cluster, code, words) in [
        ("none", Code::NotFound, "there is no cluster `none`"),
        ("new", Code::FailedPrecondition, "cluster `new` has not joined yet"),
        (
            "away",
            Code::FailedPrecondition,
            "the agent of cluster `away` is not connected",
        ),
        (
            "old",
            Code::FailedPrecondition,
            "the agent of cluster `old` is too old for dry runs: upgrade it",
        ),
    ] {
        assert_refused(dry_run(&rig, about(cluster)).await, code, &[words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_goes_away_is_told_and_a_caller_that_goes_away_blocks_nobody() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    rig.push("prod", &bundle("shop", "1")).await;
    let agent = rig.agent("edge", "prod").await;
    let mut stream = answering(&rig, &agent).await;
    let gone = asking(&rig, about("edge")).await;
    let first = probe(&mut stream).await;
    gone.abort();
    let _ = gone.await;
    // The server hears of it a moment later.
    let (asked, second) = loop {
        let asked = asking(&rig, about("edge")).await;
        tokio::select! {
            second = probe(&mut stream) => break (asked, second),
            refused = async { while !asked.is_finished() { tokio::task::yield_now().await } } => refused,
        }
    };
    assert_ne!(first.id, second.id);
    stream.send(answer(first.id)).await;
    drop(stream);
    assert_refused(
        soon(asked).await.unwrap(),
        Code::FailedPrecondition,
        &["the agent of cluster `edge` went away while it was asked"],
    );
}
