//! `finetuned watch`: follows a job's event stream to its end.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::{
    ServerArgs,
    api::{self, Api, Failure},
    events::{EventStream, JobEvent, Next},
    key,
    output::Output,
    progress::JobView,
};
use crate::domain::jobs::{
    event::{EndEvent, EventKind},
    job::{Job, JobStatus},
};

/// How often to ask the server for the number of steps and the time left. The events do not contain them.
const REFRESH: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Id of the job
    pub job: String,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Returns true if the job succeeded.
pub async fn run(args: &WatchArgs, output: &mut Output) -> Result<bool, Failure> {
    let api = key::connect(&args.server)?;
    let job = read_job(&api, &args.job).await?;
    follow(&api, &job, args.server.json, output).await
}

/// Shows a job from its first event to its last; returns true if it succeeded.
pub async fn follow(api: &Api, job: &Job, json: bool, output: &mut Output) -> Result<bool, Failure> {
    if json {
        return pass_on(api, job, output).await;
    }
    let mut stream = EventStream::new(api, job.id);
    let mut view = JobView::new(job, output);
    let mut asked: Option<Instant> = None;
    loop {
        let event = match stream.next().await? {
            Next::Event(event) => event,
            Next::Lost(pause) => {
                view.lost(pause);
                continue;
            }
            // Only if another connection has seen the end before this one: the job has the outcome.
            Next::Over => return ended(api, job).await,
        };
        if event.kind == EventKind::End {
            let end: EndEvent = api::read(&event.data)?;
            view.end(&end)?;
            return Ok(end.status == JobStatus::Succeeded);
        }
        let moves = matches!(event.kind, EventKind::Step | EventKind::Epoch);
        if moves && !job.status.is_end() && asked.is_none_or(|asked| asked.elapsed() > REFRESH) {
            asked = Some(Instant::now());
            // If there is no response, the bar keeps its last values.
            if let Ok(Job {
                progress: Some(progress),
                ..
            }) = read_job(api, &job.id.to_string()).await
            {
                view.progress(&progress);
            }
        }
        show(&mut view, &event)?;
    }
}

fn show(view: &mut JobView, event: &JobEvent) -> Result<(), Failure> {
    let data: &Value = &event.data;
    match event.kind {
        EventKind::Status => view.status(&api::read(data)?),
        EventKind::Step => {
            view.step(&api::read(data)?);
            Ok(())
        }
        EventKind::Progress => {
            view.progressed(&api::read(data)?);
            Ok(())
        }
        EventKind::Epoch => view.epoch(&api::read(data)?),
        EventKind::Log => view.log(&api::read(data)?),
        EventKind::Warning => view.warning(&api::read(data)?),
        EventKind::Rewind => view.rewind(&api::read(data)?),
        EventKind::Checkpoint | EventKind::End => Ok(()),
    }
}

/// For scripts: prints each event as a line of JSON.
async fn pass_on(api: &Api, job: &Job, output: &mut Output) -> Result<bool, Failure> {
    let mut stream = EventStream::new(api, job.id);
    loop {
        match stream.next().await? {
            Next::Event(event) => {
                output.line(&event.to_json().to_string())?;
                if event.kind == EventKind::End {
                    let end: EndEvent = api::read(&event.data)?;
                    return Ok(end.status == JobStatus::Succeeded);
                }
            }
            Next::Lost(_) => {}
            Next::Over => return ended(api, job).await,
        }
    }
}

async fn ended(api: &Api, job: &Job) -> Result<bool, Failure> {
    let job = read_job(api, &job.id.to_string()).await?;
    Ok(job.status == JobStatus::Succeeded)
}

async fn read_job(api: &Api, job: &str) -> Result<Job, Failure> {
    api::read(&api.get(&["jobs", job], None).await?)
}
